package router

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
	"dataflex.dev/dataflex/kernels/simd"
)

// Sigmoid is routing by scores that do not compete. It has a host twin alone: who builds
// a model refuses other devices. Bias [E] moves the choice and no weight.
//
//	score[t,e]  = σ(logits[t,e])
//	choice[t,k] = the K largest of score[t,e] + bias[e], descending; of equal ones the first
//	weight[t,k] = score[t, choice[t,k]], divided by their sum over k with Normalize
//	probs[t,e]  = softmax over e of logits[t,e], which the balance loss alone reads
//
// Source: Wang et al. 2024, arXiv:2408.15664; transformers 5 models/minimax_m2.
type Sigmoid struct {
	Params
	Bias driver.F32
}

// Forward overwrites probs [T, E], choice [T·K], weight [T, K] and likely [T·K], the K
// most probable experts, from logits [T, E].
func (s Sigmoid) Forward(dev driver.Device, logits, probs driver.F32, choice, likely []int32, weight driver.F32) {
	s.check(logits, probs, len(choice), weight)
	if s.Bias.Len() != s.Experts || len(likely) != len(choice) {
		panic("router: bias is not [E], or likely not [T·K]")
	}
	dispatch.Run(dev, "router.Sigmoid", func(c *cpu.Device) {
		s.forwardCPU(c, logits.Host(), probs.Host(), choice, likely, weight.Host())
	}, func(driver.Launcher) { noSigmoid(dev) })
}

// Backward overwrites dlogits [T, E] with the gradient by the weights' gradient
// dweight [T, K] and by that of every row's probabilities, balance [E] (nil = 0).
func (s Sigmoid) Backward(dev driver.Device, logits, probs driver.F32, choice []int32, weight, dweight driver.F32, balance []float32, dlogits driver.F32) {
	s.check(logits, probs, len(choice), weight)
	if dweight.Len() != weight.Len() || dlogits.Len() != logits.Len() {
		panic("router: dweight is not [T, K], or dlogits not [T, E]")
	}
	dispatch.Run(dev, "router.Sigmoid", func(c *cpu.Device) {
		// The balance loss first, through the softmax.
		backwardCPU(c, s.Params, probs.Host(), choice, weight.Host(), nil, balance, dlogits.Host())
		s.backwardCPU(c, logits.Host(), choice, weight.Host(), dweight.Host(), dlogits.Host())
	}, func(driver.Launcher) { noSigmoid(dev) })
}

func noSigmoid(dev driver.Device) {
	panic(fmt.Sprintf("router.Sigmoid: no kernel for a %v device", dev.Kind()))
}

func (s Sigmoid) forwardCPU(c *cpu.Device, logits, probs []float32, choice, likely []int32, weight []float32) {
	bias := s.Bias.Host()
	blocks(c, s.Tokens, func(t int) {
		z, row := logits[t*s.Experts:(t+1)*s.Experts], probs[t*s.Experts:(t+1)*s.Experts]
		lo, hi := t*s.TopK, (t+1)*s.TopK
		for e, v := range z {
			row[e] = float32(sigmoid(v)) + bias[e]
		}
		largest(row, choice[lo:hi])
		var sum float32
		for k, e := range choice[lo:hi] {
			weight[lo+k] = float32(sigmoid(z[e]))
			sum += weight[lo+k]
		}
		if s.Normalize {
			simd.Scale(1/sum, weight[lo:hi])
		}
		simd.Scale(1/simd.ExpSum(row, z, simd.Max(z)), row)
		largest(row, likely[lo:hi])
	})
}

// backwardCPU adds the weights' gradient: w = q/Σq has dq = (dw − Σ w·dw)/Σq.
func (s Sigmoid) backwardCPU(c *cpu.Device, logits []float32, choice []int32, weight, dweight, dlogits []float32) {
	blocks(c, s.Tokens, func(t int) {
		z, d := logits[t*s.Experts:(t+1)*s.Experts], dlogits[t*s.Experts:(t+1)*s.Experts]
		scale, mean := 1.0, 0.0
		if s.Normalize {
			var sum float64
			for k := t * s.TopK; k < (t+1)*s.TopK; k++ {
				sum += sigmoid(z[choice[k]])
				mean += float64(weight[k]) * float64(dweight[k])
			}
			scale = 1 / sum
		}
		for k := t * s.TopK; k < (t+1)*s.TopK; k++ {
			q := sigmoid(z[choice[k]])
			d[choice[k]] += float32(scale * (float64(dweight[k]) - mean) * q * (1 - q))
		}
	})
}

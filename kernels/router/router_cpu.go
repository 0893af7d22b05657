package router

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

const rowBlock = 16 // tokens a task takes

func blocks(c *cpu.Device, tokens int, f func(t int)) {
	c.Parallel((tokens+rowBlock-1)/rowBlock, func(b int) {
		for t := b * rowBlock; t < min(tokens, (b+1)*rowBlock); t++ {
			f(t)
		}
	})
}

func forwardCPU(c *cpu.Device, p Params, logits, probs []float32, choice []int32, weight []float32) {
	blocks(c, p.Tokens, func(t int) {
		row := probs[t*p.Experts : (t+1)*p.Experts]
		z := logits[t*p.Experts : (t+1)*p.Experts]
		softmax(row, z)
		ids, w := choice[t*p.TopK:(t+1)*p.TopK], weight[t*p.TopK:(t+1)*p.TopK]
		largest(row, ids)
		var sum float32
		for k, e := range ids {
			w[k] = row[e]
			sum += w[k]
		}
		if p.Normalize {
			for k := range w {
				w[k] /= sum
			}
		}
	})
}

// softmax overwrites row with the softmax of z.
func softmax(row, z []float32) { simd.Scale(1/simd.ExpSum(row, z, simd.Max(z)), row) }

// throughSoftmax makes d, the gradient by probabilities, that by their logits.
func throughSoftmax(d, prob []float32) {
	var mean float64
	for e, v := range d {
		mean += float64(v) * float64(prob[e])
	}
	for e := range d {
		d[e] = prob[e] * (d[e] - float32(mean))
	}
}

// largest puts the indices of the largest of x into ids, descending: a few passes,
// for a few experts.
func largest(x []float32, ids []int32) {
	for k := range ids {
		best := -1
		for e, v := range x {
			if !contains(ids[:k], int32(e)) && (best < 0 || v > x[best]) {
				best = e
			}
		}
		ids[k] = int32(best)
	}
}

func contains(ids []int32, e int32) bool {
	for _, id := range ids {
		if id == e {
			return true
		}
	}
	return false
}

// backwardCPU: the gradient by the probabilities, then through the softmax.
func backwardCPU(c *cpu.Device, p Params, probs []float32, choice []int32, weight, dweight, balance, dlogits []float32) {
	blocks(c, p.Tokens, func(t int) {
		prob, d := probs[t*p.Experts:(t+1)*p.Experts], dlogits[t*p.Experts:(t+1)*p.Experts]
		clear(d)
		copy(d, balance)
		if dweight != nil {
			lo, hi := t*p.TopK, (t+1)*p.TopK
			p.chosen(d, prob, choice[lo:hi], weight[lo:hi], dweight[lo:hi])
		}
		throughSoftmax(d, prob)
	})
}

// chosen adds the weights' gradient to that of a token's probabilities d:
// w = q/Σq has dq = (dw − Σ w·dw)/Σq.
func (p Params) chosen(d, prob []float32, choice []int32, weight, dweight []float32) {
	scale, mean := float32(1), float32(0)
	if p.Normalize {
		var sum float32
		for k, e := range choice {
			sum += prob[e]
			mean += weight[k] * dweight[k]
		}
		scale = 1 / sum
	}
	for k, e := range choice {
		d[e] += scale * (dweight[k] - mean)
	}
}

func dispatchCPU(c *cpu.Device, plan Plan, x, out []float32, d int) {
	token := plan.Token.Host()
	blocks(c, len(token), func(i int) {
		t := int(token[i])
		copy(out[i*d:(i+1)*d], x[t*d:(t+1)*d])
	})
}

// combineCPU sums a token's rows, all of weight 1 where weight is nil.
func combineCPU(c *cpu.Device, plan Plan, y, weight, out []float32, d int) {
	slot := plan.Slot.Host()
	blocks(c, len(slot)/plan.TopK, func(t int) {
		row := out[t*d : (t+1)*d]
		clear(row)
		for k := range plan.TopK {
			i := t*plan.TopK + k
			from, w := int(slot[i]), float32(1)
			if weight != nil {
				w = weight[i]
			}
			simd.Axpy(w, y[from*d:(from+1)*d], row)
		}
	})
}

func combineBackwardCPU(c *cpu.Device, plan Plan, dout, y, weight, dy, dweight []float32, d int) {
	slot := plan.Slot.Host()
	blocks(c, len(slot)/plan.TopK, func(t int) {
		g := dout[t*d : (t+1)*d]
		for k := range plan.TopK {
			i := t*plan.TopK + k
			at := int(slot[i])
			dweight[i] = simd.Dot(g, y[at*d:(at+1)*d])
			row := dy[at*d : (at+1)*d]
			copy(row, g)
			simd.Scale(weight[i], row)
		}
	})
}

func sigmoid(x float32) float64 { return 1 / (1 + math.Exp(-float64(x))) }

func gateCPU(c *cpu.Device, x, gate, out []float32, d int) {
	blocks(c, len(gate), func(t int) {
		row := out[t*d : (t+1)*d]
		copy(row, x[t*d:(t+1)*d])
		simd.Scale(float32(sigmoid(gate[t])), row)
	})
}

func gateBackwardCPU(c *cpu.Device, dout, x, gate, dx, dgate []float32, d int) {
	blocks(c, len(gate), func(t int) {
		g, row, s := dout[t*d:(t+1)*d], dx[t*d:(t+1)*d], sigmoid(gate[t])
		dgate[t] = float32(s * (1 - s) * float64(simd.Dot(g, x[t*d:(t+1)*d])))
		copy(row, g)
		simd.Scale(float32(s), row)
	})
}

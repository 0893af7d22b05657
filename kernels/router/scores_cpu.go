package router

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

func (s Scores) forwardCPU(c *cpu.Device, logits, probs []float32, choice, likely []int32, weight []float32) {
	blocks(c, s.Tokens, func(t int) {
		z, row := logits[t*s.Experts:(t+1)*s.Experts], probs[t*s.Experts:(t+1)*s.Experts]
		ids, w := choice[t*s.TopK:(t+1)*s.TopK], weight[t*s.TopK:(t+1)*s.TopK]
		softmax(row, z)
		s.choose(z, row, ids)
		var sum float64
		for k, e := range ids {
			w[k] = float32(s.score(z, row, e))
			sum += s.score(z, row, e)
		}
		factor := s.scale()
		if s.Normalize {
			factor /= math.Max(sum, float64(s.Floor))
		}
		simd.Scale(float32(factor), w)
		largest(row, likely[t*s.TopK:(t+1)*s.TopK])
	})
}

// score is that of expert e among logits z, whose softmax is probs.
func (s Scores) score(z, probs []float32, e int32) float64 {
	if s.Softmax {
		return float64(probs[e])
	}
	return sigmoid(z[e])
}

// orders are what experts are chosen by, a token's at a time.
var orders = scratch.NewPool[[]float32](64)

// choose finds the experts of a token from its logits z, whose softmax is probs.
func (s Scores) choose(z, probs []float32, ids []int32) {
	if s.Bias.IsNil() && !s.grouped() {
		largest(z, ids) // in whose order the scores are
		return
	}
	by := orders.Take()
	defer orders.Give(by)
	*by = scratch.Sized(*by, s.Experts)
	row, bias := *by, s.Bias.Host()
	for e := range row {
		row[e] = float32(s.score(z, probs, int32(e)))
		if bias != nil {
			row[e] += bias[e]
		}
	}
	if s.grouped() {
		s.maskGroups(row)
	}
	largest(row, ids)
}

// maskGroups leaves the experts of the best groups, and makes the others −∞.
func (s Scores) maskGroups(row []float32) {
	size := s.Experts / s.Groups
	sums, best := make([]float32, s.Groups), make([]int32, s.TopGroups)
	for g := range sums {
		first, second := float32(math.Inf(-1)), float32(math.Inf(-1))
		for _, v := range row[g*size : (g+1)*size] {
			switch {
			case v > first:
				first, second = v, first
			case v > second:
				second = v
			}
		}
		sums[g] = first + second
	}
	largest(sums, best)
	for g := range sums {
		if contains(best, int32(g)) {
			continue
		}
		for e := g * size; e < (g+1)*size; e++ {
			row[e] = float32(math.Inf(-1))
		}
	}
}

// backwardCPU: w = s·q/D with D = max(Σq, Floor) has dq = s·(dw − Σ (w/s)·dw)/D, without
// the sum where the divisor is the floor; then through the scores, and the balance loss
// through the softmax.
func (s Scores) backwardCPU(c *cpu.Device, logits, probs []float32, choice []int32, weight, dweight, balance, dlogits []float32) {
	blocks(c, s.Tokens, func(t int) {
		z, prob := logits[t*s.Experts:(t+1)*s.Experts], probs[t*s.Experts:(t+1)*s.Experts]
		ids, dw := choice[t*s.TopK:(t+1)*s.TopK], dweight[t*s.TopK:(t+1)*s.TopK]
		d := dlogits[t*s.Experts : (t+1)*s.Experts]
		clear(d)
		copy(d, balance)
		factor, mean := s.backwardWeights(z, prob, ids, weight[t*s.TopK:(t+1)*s.TopK], dw)
		if s.Softmax {
			for k, e := range ids {
				d[e] += float32(factor * (float64(dw[k]) - mean))
			}
		}
		throughSoftmax(d, prob)
		if s.Softmax {
			return
		}
		for k, e := range ids {
			q := sigmoid(z[e])
			d[e] += float32(factor * (float64(dw[k]) - mean) * q * (1 - q))
		}
	})
}

// backwardWeights gives factor and mean of dq[k] = factor·(dw[k] − mean), of a token's chosen scores.
func (s Scores) backwardWeights(z, prob []float32, ids []int32, w, dw []float32) (factor, mean float64) {
	factor = s.scale()
	if !s.Normalize {
		return factor, 0
	}
	var sum, dot float64
	for k, e := range ids {
		sum += s.score(z, prob, e)
		dot += float64(w[k]) * float64(dw[k])
	}
	if sum < float64(s.Floor) {
		return factor / float64(s.Floor), 0
	}
	return factor / sum, dot / factor
}

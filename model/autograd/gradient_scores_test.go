package autograd

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/model/tensor"
)

// scoreE experts, in two groups where there are any.
const scoreE = 6

// choiceBias moves the choice, by more than most scores differ.
var choiceBias = []float32{0.1, -0.3, 0.2, 0, 0.4, -0.1}

func scoreCases() (out []gradientCase) {
	for _, o := range []ScoreOptions{
		{},
		{Normalize: true},
		{Normalize: true, Groups: 2, TopGroups: 1, Scale: 2.5},
		{Normalize: true, Softmax: true},
		{Normalize: true, Softmax: true, Floor: 0.6},
		{NoBalance: true, Scale: 0.5},
	} {
		o.TopK = routeK
		c := gradientCase{
			op: opRoute, name: fmt.Sprintf("by scores, with the balance loss, %+v", o), inputs: []input{{routeT, scoreE, false}},
			mode: Mode{BalanceWeight: balance},
		}
		c.record = func(t *Tape, x operands) *Value {
			o.Bias = &tensor.Param{Shape: []int{scoreE}, Data: optest.Dev(choiceBias)}
			return t.RouteScores(x.values[0], o).weight
		}
		c.loss = func(g []float64, x [][]float64) float64 {
			weight := 0.0
			if !o.NoBalance {
				weight = balance
			}
			probs, likely := probabilities(x[0])
			_, _, chosen := byScore(o, x[0])
			return optest.Inner(g, chosen) + weight*optest.Inner(probs, scoreSlope[float64](likely))
		}
		c.plain, c.plain64 = scoresPlain[float32](o), scoresPlain[float64](o)
		out = append(out, c)
	}
	return out
}

// probabilities are the softmax of the logits, and the most probable experts.
func probabilities[F optest.Float](logits []F) (probs []F, likely []int) {
	for t := range routeT {
		row := logits[t*scoreE:][:scoreE]
		top, sum := slices.Max(row), F(0)
		order := make([]int, scoreE)
		for e, z := range row {
			p := F(math.Exp(float64(z - top)))
			probs, sum, order[e] = append(probs, p), sum+p, e
		}
		mine := probs[t*scoreE:]
		for e := range mine {
			mine[e] /= sum
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(mine[b], mine[a]) })
		likely = append(likely, order[:routeK]...)
	}
	return probs, likely
}

// scoreSlope is the balance loss's, by the probabilities.
func scoreSlope[F optest.Float](likely []int) []F {
	s := make([]F, routeT*scoreE)
	for i := range s {
		for _, e := range likely {
			if e == i%scoreE {
				s[i] += F(scoreE) / routeT / routeT
			}
		}
	}
	return s
}

// byScore is the scores, the choice, and the chosen ones' weights.
func byScore[F optest.Float](o ScoreOptions, logits []F) (scores []F, choice []int, weight []F) {
	if o.Softmax {
		scores, _ = probabilities(logits)
	} else {
		for _, z := range logits {
			scores = append(scores, F(1/(1+math.Exp(-float64(z)))))
		}
	}
	for t := range routeT {
		mine := scores[t*scoreE:][:scoreE]
		by := make([]F, scoreE)
		for e := range by {
			by[e] = mine[e] + F(choiceBias[e])
		}
		ids := bestGroup(o, by)
		slices.SortStableFunc(ids, func(a, b int) int { return cmp.Compare(by[b], by[a]) })
		ids = ids[:routeK]
		divisor := divisorOf(o, mine, ids)
		for _, e := range ids {
			choice, weight = append(choice, e), append(weight, factorOfScores[F](o)*mine[e]/divisor)
		}
	}
	return scores, choice, weight
}

// bestGroup are the experts that may be chosen.
func bestGroup[F optest.Float](o ScoreOptions, by []F) (ids []int) {
	const half = scoreE / 2
	best := func(group []F) F {
		s := slices.Sorted(slices.Values(group))
		return s[half-1] + s[half-2]
	}
	for e := range by {
		second := best(by[half:]) > best(by[:half])
		if o.Groups < 2 || second == (e >= half) {
			ids = append(ids, e)
		}
	}
	return ids
}

func divisorOf[F optest.Float](o ScoreOptions, scores []F, ids []int) F {
	if !o.Normalize {
		return 1
	}
	var sum F
	for _, e := range ids {
		sum += scores[e]
	}
	return max(sum, F(o.Floor))
}

func factorOfScores[F optest.Float](o ScoreOptions) F {
	return F(cmp.Or(o.Scale, 1))
}

func scoresPlain[F optest.Float](o ScoreOptions) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		probs, likely := probabilities(x[0])
		scores, choice, weight := byScore(o, x[0])
		d, dscore := make([]F, routeT*scoreE), make([]F, routeT*scoreE)
		if s := scoreSlope[F](likely); !o.NoBalance {
			for i := range d {
				d[i] = balance * s[i]
			}
		}
		for t := range routeT {
			lo, hi := t*routeK, (t+1)*routeK
			divisor := divisorOf(o, scores[t*scoreE:], choice[lo:hi])
			var dot F
			for k := lo; k < hi && o.Normalize && divisor != F(o.Floor); k++ {
				dot += g[k] * weight[k]
			}
			for k := lo; k < hi; k++ {
				dscore[t*scoreE+choice[k]] = (factorOfScores[F](o)*g[k] - dot) / divisor
			}
			if o.Softmax {
				for e := t * scoreE; e < (t+1)*scoreE; e++ {
					d[e] += dscore[e]
				}
			}
			var mean F
			for e := t * scoreE; e < (t+1)*scoreE; e++ {
				mean += d[e] * probs[e]
			}
			for e := t * scoreE; e < (t+1)*scoreE; e++ {
				d[e] = probs[e] * (d[e] - mean)
				if !o.Softmax {
					d[e] += dscore[e] * scores[e] * (1 - scores[e])
				}
			}
		}
		return [][]F{d}
	}
}

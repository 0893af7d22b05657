package autograd

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/model/tensor"
)

// choiceBias moves the choice of sigmoid routing, by more than most scores differ.
var choiceBias = []float32{0.1, -0.3, 0.2, 0, 0.4}

func sigmoidCases() (out []gradientCase) {
	for _, normalize := range []bool{false, true} {
		c := gradientCase{
			op: opRoute, name: fmt.Sprint("by sigmoids, with the balance loss, normalised: ", normalize), inputs: []input{{routeT, routeE, false}},
			mode: Mode{BalanceWeight: balance},
		}
		c.record = func(t *Tape, x operands) *Value {
			bias := &tensor.Param{Shape: []int{routeE}, Data: optest.Dev(choiceBias)}
			return t.RouteSigmoid(x.values[0], bias, routeK, normalize).weight
		}
		c.loss = func(g []float64, x [][]float64) float64 {
			probs, likely, _ := route(x[0], false)
			_, _, weight := bySigmoid(x[0], normalize)
			return optest.Inner(g, weight) + balance*optest.Inner(probs, slope[float64](likely))
		}
		c.plain, c.plain64 = sigmoidPlain[float32](normalize), sigmoidPlain[float64](normalize)
		out = append(out, c)
	}
	return out
}

// bySigmoid is the scores, the choice by score and bias, and the chosen ones' weights.
func bySigmoid[F optest.Float](logits []F, normalize bool) (scores []F, choice []int, weight []F) {
	for t := range routeT {
		order := make([]int, routeE)
		for e, z := range logits[t*routeE:][:routeE] {
			scores, order[e] = append(scores, F(1/(1+math.Exp(-float64(z))))), e
		}
		mine := scores[t*routeE:]
		slices.SortStableFunc(order, func(a, b int) int {
			return cmp.Compare(mine[b]+F(choiceBias[b]), mine[a]+F(choiceBias[a]))
		})
		sum := F(1)
		if normalize {
			sum = mine[order[0]] + mine[order[1]]
		}
		for _, e := range order[:routeK] {
			choice, weight = append(choice, e), append(weight, mine[e]/sum)
		}
	}
	return scores, choice, weight
}

func sigmoidPlain[F optest.Float](normalize bool) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		probs, likely, _ := route(x[0], false)
		scores, choice, weight := bySigmoid(x[0], normalize)
		s, d := slope[F](likely), make([]F, routeT*routeE)
		for t := range routeT {
			var mean F
			for e := t * routeE; e < (t+1)*routeE; e++ {
				mean += balance * s[e] * probs[e]
			}
			for e := t * routeE; e < (t+1)*routeE; e++ {
				d[e] = probs[e] * (balance*s[e] - mean)
			}
			dot, sum := F(0), F(1)
			if normalize {
				sum = 0
				for k := t * routeK; k < (t+1)*routeK; k++ {
					dot, sum = dot+g[k]*weight[k], sum+scores[t*routeE+choice[k]]
				}
			}
			for k := t * routeK; k < (t+1)*routeK; k++ {
				q := scores[t*routeE+choice[k]]
				d[t*routeE+choice[k]] += (g[k] - dot) / sum * q * (1 - q)
			}
		}
		return [][]F{d}
	}
}

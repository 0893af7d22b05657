package autograd

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/router"
)

// The cases of TestGradients that have to do with mixtures of experts.

const (
	routeT, routeE, routeK = 6, 5, 2
	balance                = 0.3
)

func routeCases() (out []gradientCase) {
	for _, normalize := range []bool{false, true} {
		c := gradientCase{
			op: opRoute, name: fmt.Sprint("with the balance loss, normalised: ", normalize), inputs: []input{{routeT, routeE, false}},
			mode: Mode{BalanceWeight: balance},
		}
		c.record = func(t *Tape, x operands) *Value { return t.Route(x.values[0], routeK, normalize).weight }
		c.loss = func(g []float64, x [][]float64) float64 {
			probs, choice, weight := route(x[0], normalize)
			return optest.Inner(g, weight) + balance*optest.Inner(probs, slope[float64](choice))
		}
		c.plain, c.plain64 = routePlain[float32](normalize), routePlain[float64](normalize)
		out = append(out, c)
	}
	return out
}

// route is the softmax of the logits, the best of every row, best first, and their weights.
func route[F optest.Float](logits []F, normalize bool) (probs []F, choice []int, weight []F) {
	for t := range routeT {
		row := logits[t*routeE:][:routeE]
		top, sum := slices.Max(row), F(0)
		for _, z := range row {
			p := F(math.Exp(float64(z - top)))
			probs, sum = append(probs, p), sum+p
		}
		mine := probs[t*routeE:]
		order := make([]int, routeE)
		for e := range mine {
			mine[e] /= sum
			order[e] = e
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(mine[b], mine[a]) })
		sum = 1
		if normalize {
			sum = mine[order[0]] + mine[order[1]]
		}
		for _, e := range order[:routeK] {
			choice, weight = append(choice, e), append(weight, mine[e]/sum)
		}
	}
	return probs, choice, weight
}

// slope is the balance loss's, by the probabilities [T, E]: transformers' aux_loss is
// E·Σ (share of tokens)·(mean probability), of which the share is a constant.
func slope[F optest.Float](choice []int) []F {
	s := make([]F, routeT*routeE)
	for i := range s {
		n := 0
		for _, e := range choice {
			if e == i%routeE {
				n++
			}
		}
		s[i] = routeE * F(n) / routeT / routeT
	}
	return s
}

func routePlain[F optest.Float](normalize bool) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		probs, choice, weight := route(x[0], normalize)
		d := slope[F](choice)
		for i := range d {
			d[i] *= balance
		}
		for t := range routeT {
			dot, sum := F(0), F(1)
			if normalize {
				sum = 0
				for k := t * routeK; k < (t+1)*routeK; k++ {
					dot, sum = dot+g[k]*weight[k], sum+probs[t*routeE+choice[k]]
				}
			}
			for k := t * routeK; k < (t+1)*routeK; k++ {
				d[t*routeE+choice[k]] += (g[k] - dot) / sum
			}
			dot = 0
			for e := t * routeE; e < (t+1)*routeE; e++ {
				dot += d[e] * probs[e]
			}
			for e := t * routeE; e < (t+1)*routeE; e++ {
				d[e] = probs[e] * (d[e] - dot)
			}
		}
		return [][]F{d}
	}
}

// Three tokens go to two of three experts each, none to the last one alone.
const (
	expertT, expertD = 3, 4
)

var (
	expertChoice  = []int32{1, 0, 0, 1, 1, 2}
	expertOffsets = []int32{0, 2, 5, 6} // of the rows by expert
)

func routing(t *Tape, weight *Value) *Routing {
	p := router.Params{Tokens: expertT, Experts: 3, TopK: 2}
	place := func(x []int32) driver.I32 {
		mem, err := t.dev.Alloc(4 * len(x))
		if err == nil {
			err = driver.Upload(t.dev, driver.View[int32](mem), x)
		}
		if err != nil {
			panic(err)
		}
		return driver.View[int32](mem)
	}
	choice := place(expertChoice)
	return &Routing{params: p, plan: router.Group(t.dev, p, choice, place(make([]int32, p.PlanSize()))), choice: choice, weight: weight, dev: t.dev}
}

// expertRows is where choice i of all tokens' lies among the rows by expert: by expert,
// then by token.
func expertRows() []int {
	rows := make([]int, len(expertChoice))
	for i, e := range expertChoice {
		for j, o := range expertChoice {
			if o < e || o == e && j < i {
				rows[i]++
			}
		}
	}
	return rows
}

func expertCases() []gradientCase {
	rows := expertRows()
	dispatch := gradientCase{op: opDispatch, name: "two rows a token", inputs: []input{{expertT, expertD, false}}}
	dispatch.record = func(t *Tape, x operands) *Value { return t.Dispatch(x.values[0], routing(t, nil)) }
	dispatched := func(x [][]float64) []float64 {
		out := make([]float64, len(rows)*expertD)
		for i, r := range rows {
			copy(out[r*expertD:], x[0][i/2*expertD:][:expertD])
		}
		return out
	}

	combine := gradientCase{op: opCombine, name: "weighted", inputs: []input{{2 * expertT, expertD, false}, {expertT, 2, false}}}
	combine.record = func(t *Tape, x operands) *Value { return t.Combine(x.values[0], routing(t, x.values[1])) }
	combined := func(x [][]float64) []float64 {
		out := make([]float64, expertT*expertD)
		for i, r := range rows {
			for j := range expertD {
				out[i/2*expertD+j] += x[1][i] * x[0][r*expertD+j]
			}
		}
		return out
	}

	experts := gradientCase{op: opLinear, name: "experts", inputs: []input{
		{2 * expertT, expertD, false}, {expertD, expertD, true}, {expertD, expertD, true}, {expertD, expertD, true},
	}}
	experts.record = func(t *Tape, x operands) *Value {
		var layers []*Linear
		for _, w := range x.params[1:] {
			layers = append(layers, &Linear{In: expertD, Out: expertD, Weight: w})
		}
		return t.Experts(x.values[0], layers, routing(t, nil))
	}
	multiplied := func(x [][]float64) (out []float64) {
		for e, o := range expertOffsets[1:] {
			lo := expertOffsets[e]
			out = append(out, optest.Mul(x[0][lo*expertD:o*expertD], x[1+e], int(o-lo), expertD, expertD, false, true)...)
		}
		return out
	}
	return []gradientCase{
		dispatch.with(dispatched, dispatchPlain[float32], dispatchPlain[float64]),
		combine.with(combined, combinePlain[float32], combinePlain[float64]),
		experts.with(multiplied, expertsPlain[float32], expertsPlain[float64]),
	}
}

func dispatchPlain[F optest.Float](g []F, _ [][]F) [][]F {
	dx := make([]F, expertT*expertD)
	for i, r := range expertRows() {
		for j := range expertD {
			dx[i/2*expertD+j] += g[r*expertD+j]
		}
	}
	return [][]F{dx}
}

func combinePlain[F optest.Float](g []F, x [][]F) [][]F {
	dy, dw := make([]F, 2*expertT*expertD), make([]F, 2*expertT)
	for i, r := range expertRows() {
		for j := range expertD {
			dy[r*expertD+j] = x[1][i] * g[i/2*expertD+j]
			dw[i] += x[0][r*expertD+j] * g[i/2*expertD+j]
		}
	}
	return [][]F{dy, dw}
}

func expertsPlain[F optest.Float](g []F, x [][]F) [][]F {
	out := [][]F{nil}
	for e, hi := range expertOffsets[1:] {
		lo := expertOffsets[e]
		mine, n := g[lo*expertD:hi*expertD], int(hi-lo)
		out[0] = append(out[0], optest.Mul(mine, x[1+e], n, expertD, expertD, false, false)...)
		out = append(out, optest.Mul(mine, x[0][lo*expertD:hi*expertD], expertD, expertD, n, true, false))
	}
	return out
}

func gateCases() []gradientCase {
	const t, d = 4, 6
	c := gradientCase{op: opGate, name: "a number a row", inputs: []input{{t, d, false}, {t, 1, false}}}
	c.record = func(t *Tape, x operands) *Value { return t.Gate(x.values[0], x.values[1]) }
	forward := func(x [][]float64) []float64 {
		out := slices.Clone(x[0])
		for i := range out {
			out[i] /= 1 + math.Exp(-x[1][i/d])
		}
		return out
	}
	return []gradientCase{c.with(forward, gatePlain[float32](d), gatePlain[float64](d))}
}

func gatePlain[F optest.Float](d int) func(g []F, x [][]F) [][]F {
	return func(g []F, x [][]F) [][]F {
		dx, dgate := slices.Clone(g), make([]F, len(x[1]))
		for i := range dx {
			s := 1 / (1 + F(math.Exp(float64(-x[1][i/d]))))
			dx[i] *= s
			dgate[i/d] += g[i] * x[0][i] * s * (1 - s)
		}
		return [][]F{dx, dgate}
	}
}

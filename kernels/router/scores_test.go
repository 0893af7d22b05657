package router_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/router"
)

// scored is a random call of router.Scores.
type scored struct {
	router.Scores
	logits, bias, dweight, balance []float32
}

func scoreCases() (all []scored) {
	r := optest.Rand(21)
	for _, s := range []router.Scores{
		{Params: router.Params{Tokens: 11, Experts: 6, TopK: 2}},
		{Params: router.Params{Tokens: 40, Experts: 8, TopK: 3, Normalize: true}, Groups: 4, TopGroups: 2, Scale: 2.5},
		{Params: router.Params{Tokens: 9, Experts: 12, TopK: 4}, Groups: 3, TopGroups: 1, Scale: 0.5},
		{Params: router.Params{Tokens: 17, Experts: 5, TopK: 2, Normalize: true}, Softmax: true},
		{Params: router.Params{Tokens: 17, Experts: 5, TopK: 2, Normalize: true}, Softmax: true, Floor: 0.7, Scale: 1.5},
		{Params: router.Params{Tokens: 20, Experts: 6, TopK: 2, Normalize: true}, Softmax: true, Groups: 2, TopGroups: 1},
	} {
		for _, biased := range []bool{false, true} {
			c := scored{Scores: s, logits: optest.Normal(r, s.Tokens*s.Experts, 2), dweight: optest.Normal(r, s.Tokens*s.TopK, 1), balance: optest.Normal(r, s.Experts, 1)}
			if biased {
				c.bias = optest.Normal(r, s.Experts, 0.3)
				c.Bias = optest.Dev(c.bias)
			}
			all = append(all, c)
		}
	}
	return all
}

// scores are a token's, by their definition.
func scores[F optest.Float](c scored, z []F) (out []F) {
	if c.Softmax {
		return weights(z, seq(c.Experts), false)
	}
	for _, x := range z {
		out = append(out, 1/(1+F(math.Exp(float64(-x)))))
	}
	return out
}

// chosen are the experts of a token: sorted by group, then by score.
func (c scored) chosen(z []float32) []int32 {
	by := scores(c, optest.To[float64](z))
	for e := range c.bias {
		by[e] += float64(c.bias[e])
	}
	groups, size := max(1, c.Groups), c.Experts/max(1, c.Groups)
	order := seq(groups)
	sum := func(g int32) float64 {
		s := slices.Clone(by[int(g)*size : int(g+1)*size])
		slices.Sort(s)
		return s[size-1] + s[size-2]
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(sum(b), sum(a)) })
	var experts []int32
	for _, g := range order[:max(1, c.TopGroups)] {
		for e := range size {
			experts = append(experts, g*int32(size)+int32(e))
		}
	}
	slices.SortFunc(experts, func(a, b int32) int { return cmp.Compare(by[b], by[a]) })
	return experts[:c.TopK]
}

// weighted are the weights of given choices.
func weighted[F optest.Float](c scored, z []F, choice []int32) (w []F) {
	q := scores(c, z)
	sum := F(0)
	for _, e := range choice {
		w, sum = append(w, q[e]), sum+q[e]
	}
	for k := range w {
		if c.Normalize {
			w[k] /= max(sum, F(c.Floor))
		}
		if c.Scale != 0 {
			w[k] *= F(c.Scale)
		}
	}
	return w
}

// TestScores compares choices with a sort, weights with their definition, and the gradient
// with differences of the definition at fixed choices, for every number of threads.
func TestScores(t *testing.T) {
	floors := 0
	for _, c := range scoreCases() {
		t.Run(fmt.Sprintf("%+v", c.Scores), func(t *testing.T) {
			f := optest.Dev
			var first scoredOut
			for _, threads := range optest.Threads {
				dev := optest.CPU(t, threads)
				out := scoredOut{make([]float32, len(c.logits)), make([]float32, len(c.dweight)), make([]float32, len(c.logits)), make([]int32, len(c.dweight)), make([]int32, len(c.dweight))}
				c.Forward(dev, f(c.logits), f(out.probs), driver.FromHost(out.choice), driver.FromHost(out.likely), f(out.weight))
				c.Backward(dev, f(c.logits), f(out.probs), driver.FromHost(out.choice), f(out.weight), f(c.dweight), c.balance, f(out.dlogits))
				if first.probs == nil {
					first = out
				}
				optest.Same(t, "weight", out.weight, first.weight)
				optest.Same(t, "dlogits", out.dlogits, first.dlogits)
			}
			floors += c.check(t, first)
		})
	}
	if floors == 0 {
		t.Error("no token's scores are below the floor")
	}
}

type scoredOut struct {
	probs, weight, dlogits []float32
	choice, likely         []int32
}

func (c scored) check(t *testing.T, got scoredOut) (floors int) {
	var plain []float32
	var ref, gradient []float64
	for i := range c.Tokens {
		z, choice := c.logits[i*c.Experts:(i+1)*c.Experts], got.choice[i*c.TopK:(i+1)*c.TopK]
		if want := c.chosen(z); !slices.Equal(choice, want) {
			t.Fatalf("token %d chose %v, want %v", i, choice, want)
		}
		z64 := optest.To[float64](z)
		probs := weights(z64, seq(c.Experts), false)
		likely := seq(c.Experts)
		slices.SortFunc(likely, func(a, b int32) int { return cmp.Compare(probs[b], probs[a]) })
		if !slices.Equal(got.likely[i*c.TopK:(i+1)*c.TopK], likely[:c.TopK]) {
			t.Fatalf("token %d: likely %v, want %v", i, got.likely[i*c.TopK:(i+1)*c.TopK], likely[:c.TopK])
		}
		plain, ref = append(plain, weighted(c, z, choice)...), append(ref, weighted(c, z64, choice)...)
		sum := 0.0
		for _, e := range choice {
			sum += scores(c, z64)[e]
		}
		if sum < float64(c.Floor) {
			floors++
		}
		loss := func() float64 {
			return optest.Inner(weighted(c, z64, choice), optest.To[float64](c.dweight[i*c.TopK:(i+1)*c.TopK])) +
				optest.Inner(weights(z64, seq(c.Experts), false), optest.To[float64](c.balance))
		}
		for e, x := range z64 {
			const h = 1e-5
			z64[e] = x + h
			up := loss()
			z64[e] = x - h
			gradient = append(gradient, (up-loss())/(2*h))
			z64[e] = x
		}
	}
	optest.Within(t, "weight", got.weight, plain, ref)
	optest.Near(t, "dlogits", got.dlogits, optest.To[float32](gradient), 1e-5)
	return floors
}

func TestScoresPanics(t *testing.T) {
	dev, f := optest.CPU(t, 1), optest.Dev
	run := func(s router.Scores) func() {
		n, k := s.Tokens*s.Experts, s.Tokens*s.TopK
		return func() {
			s.Forward(dev, f(make([]float32, n)), f(make([]float32, n)), driver.FromHost(make([]int32, k)), driver.FromHost(make([]int32, k)), f(make([]float32, k)))
		}
	}
	p := router.Params{Tokens: 1, Experts: 8, TopK: 3}
	optest.Panics(t, "router: bias is not [E]", run(router.Scores{Params: p, Bias: f(make([]float32, 3))}))
	for _, s := range []router.Scores{{Params: p, Groups: 3, TopGroups: 1}, {Params: p, Groups: 8, TopGroups: 4}, {Params: p, Groups: 4, TopGroups: 1}} {
		optest.Panics(t, "router: groups of fewer than two experts, or too few groups for TopK", run(s))
	}
}

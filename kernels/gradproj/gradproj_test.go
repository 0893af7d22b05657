package gradproj

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// pair is a random LoRA pair of a packed batch, on the host.
type pair struct {
	x, u, dy, v   []float32
	in, out, rank int
	scale         float32
	segments      []int32
	offset        int
}

func normal(r *rand.Rand, n int, sd float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * sd)
	}
	return x
}

func newPair(r *rand.Rand, in, out, rank, offset int, lengths ...int) pair {
	p := pair{in: in, out: out, rank: rank, scale: 1.5, segments: []int32{0}, offset: offset}
	t := 0
	for _, l := range lengths {
		t += l
		p.segments = append(p.segments, int32(t))
	}
	p.x, p.u, p.dy, p.v = normal(r, t*in, 1), normal(r, t*rank, 1), normal(r, t*out, 0.1), normal(r, t*rank, 0.1)
	return p
}

// factors are those of samples from … to.
func (p pair) factors(from, to int) Factors {
	lo, hi := int(p.segments[from]), int(p.segments[to])
	var segments []int32
	for _, s := range p.segments[from : to+1] {
		segments = append(segments, s-int32(lo))
	}
	f := func(x []float32, w int) driver.F32 { return driver.FromHost(x[lo*w : hi*w]) }
	return Factors{
		X: f(p.x, p.in), U: f(p.u, p.rank), DY: f(p.dy, p.out), V: f(p.v, p.rank),
		In: p.in, Out: p.out, Rank: p.rank, Scale: p.scale, Segments: segments, Offset: p.offset,
	}
}

func (p pair) size() int { return p.rank * (p.in + p.out) }

// gradient is sample i's, in float64.
func (p pair) gradient(i int) []float64 {
	g := make([]float64, p.size())
	for t := int(p.segments[i]); t < int(p.segments[i+1]); t++ {
		for r := range p.rank {
			for c := range p.in {
				g[r*p.in+c] += float64(p.v[t*p.rank+r]) * float64(p.x[t*p.in+c])
			}
			for o := range p.out {
				g[p.rank*p.in+o*p.rank+r] += float64(p.scale) * float64(p.dy[t*p.out+o]) * float64(p.u[t*p.rank+r])
			}
		}
	}
	return g
}

// direction64 is the Adam direction in float64.
func direction64(g []float64, a *Adam) []float64 {
	out := make([]float64, len(g))
	m, v := a.M.Host(), a.V.Host()
	for i, x := range g {
		num, den := a.Beta1*float64(m[i])+(1-a.Beta1)*x, a.Beta2*float64(v[i])+(1-a.Beta2)*x*x
		if a.BiasCorrection > 0 {
			num /= 1 - math.Pow(a.Beta1, float64(a.BiasCorrection))
			den /= 1 - math.Pow(a.Beta2, float64(a.BiasCorrection))
		}
		if a.EpsInside {
			out[i] = num / math.Sqrt(den+a.Eps)
		} else {
			out[i] = num / (math.Sqrt(den) + a.Eps)
		}
	}
	return out
}

// testPairs are two pairs whose blocks begin off the 64-row tiles: seven samples,
// one of them empty, one of a single token.
func testPairs() []pair {
	r := rand.New(rand.NewPCG(1, 2))
	lengths := []int{5, 9, 0, 1, 17, 3, 12, 4, 6, 2}
	return []pair{newPair(r, 600, 37, 5, 3185+19, lengths...), newPair(r, 33, 604, 5, 19, lengths...)}
}

const testTotal = 7000

func testAdam(r *rand.Rand, size int) *Adam {
	a := &Adam{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, M: driver.FromHost(normal(r, size, 1e-2)), V: driver.FromHost(normal(r, size, 1e-2))}
	for i, x := range a.V.Host() {
		a.V.Host()[i] = x * x
	}
	return a
}

func mustNew(t testing.TB, kind Kind, dim, total int, opt Options) *Projection {
	t.Helper()
	p, err := New(kind, dim, 42, total, opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// run projects samples from … to of the pairs.
func run(t testing.TB, p *Projection, threads int, pairs []pair, adam bool, from, to int) ([]float32, []float64) {
	t.Helper()
	dev := cpu.New(threads)
	defer dev.Close()
	out, norm := make([]float32, (to-from)*p.Dim()), make([]float64, to-from)
	for i, pr := range pairs {
		var a *Adam
		if adam {
			a = testAdam(rand.New(rand.NewPCG(7, uint64(i))), pr.size())
		}
		p.Accumulate(dev, pr.factors(from, to), a, driver.FromHost(out), norm)
	}
	return out, norm
}

// closeTo compares with a float64 result, relative to its largest entry.
func closeTo(t *testing.T, what string, got []float32, want []float64, tol float64) {
	t.Helper()
	var top, worst float64
	for i, x := range want {
		top, worst = max(top, math.Abs(x)), max(worst, math.Abs(x-float64(got[i])))
	}
	if !(worst <= tol*top) {
		t.Errorf("%s: off by %.2g of the largest entry %.3g", what, worst/top, top)
	}
}

// Gradients and Adam directions, from factors, against float64.
func TestGradientsAgainstFloat64(t *testing.T) {
	pairs := testPairs()
	eachLevel(t, func(t *testing.T) {
		p := mustNew(t, None, 0, testTotal, Options{})
		got, norm := run(t, p, 2, pairs, false, 0, 10)
		for i := range norm {
			want, square := make([]float64, testTotal), 0.0
			for _, pr := range pairs {
				for j, x := range pr.gradient(i) {
					want[pr.offset+j] = x
					square += x * x
				}
			}
			closeTo(t, fmt.Sprint("gradient ", i), got[i*testTotal:][:testTotal], want, 1e-6)
			if math.Abs(norm[i]-square) > 1e-6*square {
				t.Errorf("sample %d: squared norm %v, want %v", i, norm[i], square)
			}
		}
	})
}

func TestAdamDirections(t *testing.T) {
	pr := testPairs()[0]
	eachLevel(t, func(t *testing.T) {
		for _, v := range []struct {
			inside bool
			steps  int
		}{{false, 0}, {true, 0}, {false, 3}, {true, 100}} {
			a := testAdam(rand.New(rand.NewPCG(3, 4)), pr.size())
			a.EpsInside, a.BiasCorrection = v.inside, v.steps
			p := mustNew(t, None, 0, pr.offset+pr.size(), Options{})
			out, norm := make([]float32, 10*p.Dim()), make([]float64, 10)
			dev := cpu.New(2)
			p.Accumulate(dev, pr.factors(0, 10), a, driver.FromHost(out), norm)
			dev.Close()
			for i := range 10 {
				closeTo(t, fmt.Sprintf("%+v sample %d", v, i), out[i*p.Dim()+pr.offset:], direction64(pr.gradient(i), a), 1e-5)
			}
		}
	})
}

// Every kind against a float64 product with the matrix of the package comment.
func TestProjectionsAgainstFloat64(t *testing.T) {
	pairs := testPairs()
	eachLevel(t, func(t *testing.T) {
		for _, c := range []struct {
			kind Kind
			dim  int
			s    int
		}{{Rademacher, 200, 0}, {Gaussian, 72, 0}, {SJLT, 150, 4}, {SJLT, 64, 6}, {Rademacher, 5, 0}, {SJLT, 3, 1}} {
			p := mustNew(t, c.kind, c.dim, testTotal, Options{Entries: c.s})
			got, _ := run(t, p, 2, pairs, false, 3, 6)
			for i := range 3 {
				want := make([]float64, c.dim)
				for _, pr := range pairs {
					for j, x := range pr.gradient(3 + i) {
						for k := range want {
							want[k] += x * entry(c.kind, 42, c.dim, c.s, pr.offset+j, k)
						}
					}
				}
				closeTo(t, fmt.Sprint(c.kind, c.dim, " sample ", i), got[i*c.dim:][:c.dim], want, 3e-6)
			}
		}
	})
}

func TestInnerProducts(t *testing.T) {
	pairs := testPairs()
	q := normal(rand.New(rand.NewPCG(5, 5)), 2*testTotal, 1)
	p := mustNew(t, Inner, 2, testTotal, Options{Vectors: driver.FromHost(q)})
	got, _ := run(t, p, 2, pairs, false, 0, 10)
	want := make([]float64, 20)
	for i := range 10 {
		for _, pr := range pairs {
			for j, x := range pr.gradient(i) {
				want[2*i] += x * float64(q[pr.offset+j])
				want[2*i+1] += x * float64(q[testTotal+pr.offset+j])
			}
		}
	}
	closeTo(t, "inner products", got, want, 1e-6)
}

// sources for the kinds that need one.
func options(kind Kind) Options {
	if kind == TRAK {
		return Options{Source: constantSource{}, Float16: true}
	}
	return Options{}
}

// constantSource has the sign of bit (row·7 + column·3) of a fixed word.
type constantSource struct{}

func (constantSource) Signs(dst []uint64, block, row0, nrows int) {
	for i := range nrows {
		dst[2*i] = 0x9E3779B97F4A7C15 * uint64(row0+i+1+block*1000)
		dst[2*i+1] = 0xBF58476D1CE4E5B9 * uint64(row0+i+1+block*1000)
	}
}

// A sample's projection has the same bits alone, in any batch and on any number
// of threads.
func TestBatchAndThreadInvariance(t *testing.T) {
	pairs := testPairs()
	dims := map[Kind]int{Rademacher: 2064, Gaussian: 96, SJLT: 500, TRAK: 1100, None: testTotal}
	for kind, dim := range dims {
		t.Run(string(kind), func(t *testing.T) {
			eachLevel(t, func(t *testing.T) {
				if simd.Level() == "generic" && testing.Short() {
					t.Skip("slow")
				}
				want, norm := run(t, mustNew(t, kind, dim, testTotal, options(kind)), 1, pairs, true, 0, 10)
				p := mustNew(t, kind, dim, testTotal, options(kind))
				for _, c := range []struct{ threads, from, to int }{{3, 0, 10}, {2, 0, 1}, {5, 4, 5}, {2, 1, 9}, {1, 7, 10}} {
					got, n := run(t, p, c.threads, pairs, true, c.from, c.to)
					for i, x := range got {
						if math.Float32bits(x) != math.Float32bits(want[c.from*dim+i]) {
							t.Fatalf("%+v: sample %d column %d is %v, in the whole batch %v", c, c.from+i/dim, i%dim, x, want[c.from*dim+i])
						}
					}
					for i, x := range n {
						if x != norm[c.from+i] {
							t.Fatalf("%+v: squared norm %v, in the whole batch %v", c, x, norm[c.from+i])
						}
					}
				}
			})
		})
	}
}

// Dense gives the bits of every level, and those of Accumulate up to the block's shape.
func TestDenseIsTheSameAtEveryLevel(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	g := normal(r, 5003, 1)
	for kind, dim := range map[Kind]int{Rademacher: 528, SJLT: 500, TRAK: 256} {
		var want []float32
		eachLevel(t, func(t *testing.T) {
			dev := cpu.New(2)
			defer dev.Close()
			p := mustNew(t, kind, dim, testTotal, options(kind))
			out, norm := make([]float32, dim), 0.0
			a := testAdam(rand.New(rand.NewPCG(9, 9)), len(g))
			p.Dense(dev, driver.FromHost(g), 777, a, driver.FromHost(out), &norm)
			if want == nil {
				want = out
			}
			for i := range out {
				if math.Float32bits(out[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%s column %d: %v, portable %v", kind, i, out[i], want[i])
				}
			}
		})
	}
}

// The float16 rounding against the definition: the nearest multiple of the
// spacing, ties to even.
func TestRoundFloat16(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for range 200000 {
		x := float32(math.Ldexp(r.Float64()*2-1, r.IntN(48)-30))
		_, e := math.Frexp(float64(x))
		ulp := math.Ldexp(1, max(e-11, -24))
		want := math.RoundToEven(float64(x)/ulp) * ulp
		if math.Abs(want) > 65504 {
			want = math.Inf(int(math.Copysign(1, want)))
		}
		if got := roundFloat16(x); float64(got) != want {
			t.Fatalf("float16(%v) = %v, want %v", x, got, want)
		}
	}
	if x := roundFloat16(float32(math.NaN())); x == x {
		t.Error("NaN is lost")
	}
}

func TestBadArguments(t *testing.T) {
	for _, c := range []struct {
		kind       Kind
		dim, total int
		opt        Options
	}{{"hadamard", 8, 8, Options{}}, {Rademacher, 0, 8, Options{}}, {None, 4, 8, Options{}}, {SJLT, 2, 8, Options{Entries: 3}}, {TRAK, 8, 8, Options{}}, {Inner, 2, 8, Options{}}} {
		if _, err := New(c.kind, c.dim, 0, c.total, c.opt); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	dev := cpu.New(1)
	defer dev.Close()
	p := mustNew(t, Rademacher, 8, 50, Options{})
	defer func() {
		if recover() != badOffset {
			t.Error("a block beyond the gradient is taken")
		}
	}()
	p.Dense(dev, driver.FromHost(make([]float32, 20)), 31, nil, driver.FromHost(make([]float32, 8)), new(float64))
}

// The planned workspace covers what a run leaves allocated, and not much more.
func TestWorkspace(t *testing.T) {
	pairs := testPairs()
	for kind, dim := range map[Kind]int{Rademacher: 2064, Gaussian: 96, SJLT: 5000, TRAK: 1100, None: testTotal} {
		p := mustNew(t, kind, dim, testTotal, options(kind))
		run(t, p, 2, pairs, false, 0, 10)
		w := &p.work
		used := 4 * (cap(w.grads) + cap(w.sums))
		for _, s := range w.slots {
			used += 4 * cap(s)
		}
		for range w.threads.Len() {
			s := w.threads.Take()
			used += 4*(len(s.rows)*lanes+len(s.tables)*256*lanes+cap(s.wide)+cap(s.random)+cap(s.plan)) + cap(s.bits) + 8*cap(s.words)
		}
		planned := int(p.Workspace(2, 10, max(pairs[0].size(), pairs[1].size())))
		if used > planned || planned > 2*used+256<<10 {
			t.Errorf("%s: %d bytes planned, %d used", kind, planned, used)
		}
	}
}

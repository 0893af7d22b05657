package gemm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// summed is a random sum of products: the reference, and the factors of its pairs.
type summed struct {
	whole matrices
	pairs []matrices
	bias  []float32
	half  bool
}

// randomSum has pairs of the given numbers of steps.
func randomSum(r *rand.Rand, tr Transpose, m, n int, steps []int, half, bias bool) summed {
	s := summed{half: half}
	for _, k := range steps {
		s.pairs = append(s.pairs, aligned(r, tr, m, n, k))
	}
	s.whole = s.pairs[0]
	if half {
		s.whole.beta, s.whole.ldc = 0, (n+7)&^7
		s.whole.c = make([]float32, m*s.whole.ldc)
	}
	if bias {
		s.bias = optest.Nearests(normal(r, n))
	}
	return s
}

func (s summed) launch(t *testing.T, dev driver.Device) (Sum, func() []float32) {
	load := func(x []float32) driver.Slice[driver.BF16] { return optest.InBF16(t, dev, x, 0) }
	wide := func(x []float32) driver.F32 {
		if dev.Kind() == driver.CPU {
			return driver.FromHost(slices.Clone(x))
		}
		return optest.In(t, dev, x, 0)
	}
	x := s.whole
	out := Sum{Alpha: x.alpha, Add: x.beta == 1}
	for _, p := range s.pairs {
		a, b := p.factors()
		out.Pairs = append(out.Pairs, Pair{on(a, load(p.a)), on(b, load(p.b))})
	}
	if s.bias != nil {
		out.Bias = wide(s.bias)
	}
	if s.half {
		out.Half = Strided(load(x.c), x.m, x.n, x.ldc)
		return out, func() []float32 { return optest.OutBF16(t, dev, out.Half.Data) }
	}
	out.F32 = x.product(wide(x.c))
	return out, func() []float32 {
		c, err := driver.Read(dev, out.F32.Data)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(c)
	}
}

// verify compares with float64: a result in bf16 within its rounding, one in float32 within
// what a float32 sum of that many terms may be off.
func (s summed) verify(t *testing.T, name string, got []float32) {
	t.Helper()
	x := s.whole
	ref, steps := make([]float64, len(got)), 0
	for _, p := range s.pairs {
		p.alpha, p.beta, p.ldc = x.alpha, 0, x.ldc
		exact, _ := p.reference()
		for i, v := range exact {
			ref[i] += v
		}
		steps += p.k
	}
	for i := range ref {
		switch column := i % x.ldc; {
		case column >= x.n:
			ref[i] = float64(x.c[i])
		default:
			if s.bias != nil {
				ref[i] += float64(s.bias[column])
			}
			if x.beta == 1 {
				ref[i] += float64(x.c[i])
			}
		}
	}
	if s.half {
		optest.Rounded(t, name, got, ref)
		return
	}
	var top float64
	for _, v := range ref {
		top = max(top, v, -v)
	}
	if e, _ := optest.Errors(got, ref); !(e <= float64(steps+4)*0x1p-24*top*4) {
		t.Errorf("%s: error %g, largest value %g", name, e, top)
	}
}

// groups are sums as a layer has them: projections that share an input, with their branches,
// a gradient over several weights, gradients of adapters; and odd shapes.
func groups(r *rand.Rand, tr Transpose) [][]summed {
	one := func(m, n int, half, bias bool, steps ...int) summed { return randomSum(r, tr, m, n, steps, half, bias) }
	return [][]summed{
		{one(130, 264, true, true, 72, 16), one(130, 72, true, false, 72, 16), one(130, 72, true, false, 72, 16)},
		{one(70, 140, true, false, 130, 8, 40, 8, 40, 8)},
		{one(16, 200, false, false, 150), one(3, 136, false, false, 150), one(200, 3, false, false, 150), one(65, 16, false, true, 150)},
		{one(1, 1, true, false, 1), one(5, 3, true, true, 33), one(129, 9, false, false, 20, 3)},
	}
}

// TestGroup: every sum of a group, whose bits are those of the sum alone, on any number of
// multiprocessors, that is with either tile; and on the host.
func TestGroup(t *testing.T) {
	for _, on := range []struct{ capability, units int }{{0, 0}, {80, 0}, {90, 1}, {90, 132}} {
		t.Run(fmt.Sprintf("sm_%d, %d", on.capability, on.units), func(t *testing.T) {
			var dev driver.Device = optest.CPU(t, 2)
			if on.capability > 0 {
				dev = optest.Multiprocessors(t, on.capability, on.units)
			}
			for _, tr := range []Transpose{NN, NT, TN} {
				for g, group := range groups(rand.New(rand.NewPCG(31, 32)), tr) {
					sums, reads := make([]Sum, len(group)), make([]func() []float32, len(group))
					for i, s := range group {
						sums[i], reads[i] = s.launch(t, dev)
					}
					RunGroup(dev, tr, sums)
					for i, s := range group {
						name, got := fmt.Sprint(tr, " ", g, " ", i), reads[i]()
						s.verify(t, name, got)
						if i == 1 {
							alone, read := s.launch(t, dev)
							RunGroup(dev, tr, []Sum{alone})
							optest.Same(t, name+", alone", read(), got)
						}
					}
				}
			}
		})
	}
}

// TestGroupTiles: one multiprocessor takes wide tiles, 132 slim ones.
func TestGroupTiles(t *testing.T) {
	sums := []Sum{{F32: F32{Rows: 256, Cols: 512}}, {F32: F32{Rows: 256, Cols: 256}}}
	if a, b := groupTileFor(sums, 1), groupTileFor(sums, 132); a != groupWide || b != groupSlim {
		t.Errorf("tiles of %d and %d columns", a.columns, b.columns)
	}
}

// TestGroupTraffic: operands are read once per tile, a result in bf16 is written once, in
// full sectors, and no bank is met twice.
func TestGroupTraffic(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	const m, n, k, rank, tile = 256, 128, 128, 64, 128
	for name, dev := range map[string]*sim.Device{"sm_80": optest.Sim(t), "sm_90": twoUnits(t)} {
		for _, tr := range []Transpose{NN, NT} {
			s := randomSum(r, tr, m, n, []int{k, rank}, true, false)
			sum, _ := s.launch(t, dev)
			RunGroup(dev, tr, []Sum{sum})
			got := dev.Last()
			if want := uint64(2*(m*n/tile+2*n)*(k+rank) + 2*m*n); got.GlobalBytes() != want || got.Conflicts() != 0 || got.Global.Units != got.Global.Ideal {
				t.Errorf("%s %v: %d bytes moved, want %d; %d sectors, ideal %d; %d bank conflicts", name, tr, got.GlobalBytes(), want, got.Global.Units, got.Global.Ideal, got.Conflicts())
			}
		}
	}
}

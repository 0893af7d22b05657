package feature

import (
	"math"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/optim"
)

// small is a device with memory for the gradients of three rows at once.
type small struct {
	*sim.Device
	row int
}

func (s *small) Attributes() driver.Attributes {
	a := s.Device.Attributes()
	if s.row > 0 { // after the model has been built
		a.MemoryBytes = s.Used() + 4*3*uint64(s.row)
	}
	return a
}

// The interpreter's features and norms equal the host's: in packed batches, in Adam's
// direction with moments that are not zero.
func TestGradientsOnTheInterpreter(t *testing.T) {
	interpreter := sim.New(sim.Options{})
	t.Cleanup(func() { interpreter.Close() })
	limited := &small{Device: sim.New(sim.Options{})}
	t.Cleanup(func() { limited.Close() })
	host := cpu.New(2)
	t.Cleanup(func() { host.Close() })
	rows := examples(7)
	const dim = 64
	features := func(dev driver.Device, kind gradproj.Kind) (out, norm []float64, losses []float64) {
		m := modelOn(t, dev)
		o, err := optim.NewAdamW(dev, optim.Groups(m.Trainable(), 0), 0.9, 0.999, 1e-8)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		total := 0
		for i, p := range m.Trainable() {
			_ = o.Moments(p, func(first, second driver.F32) error { // the function has no error
				reduce.Fill(dev, 0.01*float32(i%3-1), first)
				reduce.Fill(dev, 1e-3*float32(i+1), second)
				return nil
			})
			total += p.Size()
		}
		projection, err := gradproj.New(kind, dim, 1, total, gradproj.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := dev.(*small); ok {
			s.row = projection.RowBytes(dev)
		}
		out, norm = make([]float64, len(rows)*dim), make([]float64, len(rows))
		p := GradientPass{Pass: pass(dev, m, 40), Projection: projection, Optimizer: o, Direction: &Direction{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8}}
		err = Gradients(ctx(), p, rows, 0, func(batch []int, z []float32, n []float64) error {
			for i, r := range batch {
				norm[r] = n[i]
				for j, v := range z[i*dim : (i+1)*dim] {
					out[r*dim+j] = float64(v)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if losses, err = Losses(ctx(), p.Pass, rows); err != nil {
			t.Fatal(err)
		}
		return out, norm, losses
	}
	for _, kind := range []gradproj.Kind{gradproj.Rademacher, gradproj.SJLT} {
		want, wantNorm, wantLoss := features(host, kind)
		got, gotNorm, gotLoss := features(interpreter, kind)
		if few, fewNorm, _ := features(limited, kind); !slices.Equal(few, got) || !slices.Equal(fewNorm, gotNorm) {
			t.Errorf("%s: the features depend on how many rows are projected at once", kind)
		}
		for _, c := range []struct {
			what      string
			got, want []float64
		}{{"features", got, want}, {"norms", gotNorm, wantNorm}, {"losses", gotLoss, wantLoss}} {
			largest := math.Abs(slices.MaxFunc(c.want, func(a, b float64) int { return int(math.Copysign(1, math.Abs(a)-math.Abs(b))) }))
			var worst float64
			for i, v := range c.want {
				worst = max(worst, math.Abs(c.got[i]-v)/largest)
			}
			t.Logf("%s, %s: within %.1e of the largest, %.3g", kind, c.what, worst, largest)
			if !(worst < 1e-5) || largest == 0 {
				t.Errorf("%s, %s differ by %v of the largest, %v", kind, c.what, worst, largest)
			}
		}
	}
}

// TestRegression10ProjectionOfAnyDevice: the projection is the same matrix on devices with
// any number of multiprocessors (fast_jl's depends on that number).
func TestRegression10ProjectionOfAnyDevice(t *testing.T) {
	const n, dim, total = 3, 64, 1000
	g := make([]float32, n*total)
	for i := range g {
		g[i] = float32(i%17) - 8
	}
	features := func(dev driver.Device) []float32 {
		t.Helper()
		projection, err := gradproj.New(gradproj.Rademacher, dim, 7, total, gradproj.Options{})
		if err != nil {
			t.Fatal(err)
		}
		placed, release, err := driver.Place(dev, g, make([]float32, n*dim))
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		gradient, out := placed[0], placed[1]
		var normSq float64
		for i := range n {
			projection.Dense(dev, gradient.Sub(i*total, (i+1)*total), 0, nil, out.Sub(i*dim, (i+1)*dim), &normSq)
		}
		z, err := driver.Read(dev, out)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(z)
	}
	want := features(cpu.New(1))
	for _, units := range []int{108, 114, 132} {
		dev := sim.New(sim.Options{Workers: units, Uncounted: true})
		t.Cleanup(func() { dev.Close() })
		if got := dev.Attributes().Units; got != units {
			t.Fatalf("%d processors, not %d", got, units)
		}
		for i, z := range features(dev) {
			if math.Abs(float64(z-want[i])) > 1e-3 {
				t.Errorf("%d processors: feature %d is %v, on the host %v", units, i, z, want[i])
				break
			}
		}
	}
}

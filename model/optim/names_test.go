package optim

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// kinds has one name of every optimizer.
var kinds = []string{"adamw_torch", "sgd", "adafactor", "lion_32bit", MuonName}

var settings = Settings{WeightDecay: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8}

// weights are a matrix wider than high, one higher than wide, an embedding and a norm.
func weights(t *testing.T, dev driver.Device) []*tensor.Param {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	var out []*tensor.Param
	for _, s := range []struct {
		name  string
		shape []int
	}{
		{"model.layers.0.q_proj.weight", []int{3, 8}},
		{"model.layers.0.o_proj.weight", []int{12, 5}},
		{"model.embed_tokens.weight", []int{6, 4}},
		{"model.norm.weight", []int{4}},
	} {
		p, err := tensor.New(dev, s.name, s.shape...)
		if err == nil {
			err = p.Train(dev)
		}
		if err == nil {
			err = p.Upload(dev, normals(r, p.Size()))
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func normals(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// take takes steps from ... to, whose gradients depend on the step alone.
func take(t *testing.T, dev driver.Device, o Optimizer, params []*tensor.Param, from, to int) {
	t.Helper()
	for k := from; k < to; k++ {
		r := rand.New(rand.NewPCG(7, uint64(k)))
		for _, p := range params {
			if err := driver.Upload(dev, p.Grad, normals(r, p.Size())); err != nil {
				t.Fatal(err)
			}
		}
		o.Step(0.01*float64(k+1), 0.5)
	}
}

func read(t *testing.T, dev driver.Device, params []*tensor.Param) (out []float32) {
	t.Helper()
	for _, p := range params {
		x, err := p.Read(dev)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, x...)
	}
	return out
}

// Every optimizer continues from its saved state with the bits of an uninterrupted one, on
// another number of threads, and frees its memory.
func TestEveryOptimizerContinues(t *testing.T) {
	for _, name := range kinds {
		dev, one := device(t, 3), device(t, 1)
		params := weights(t, dev)
		used := dev.Used()
		o, err := New(name, dev, params, settings)
		if err != nil {
			t.Fatal(err)
		}
		if got := dev.Used() - used; got != o.Bytes() {
			t.Errorf("%s holds %d bytes and says %d", name, got, o.Bytes())
		}
		take(t, dev, o, params, 0, 2)
		steps, tensors, err := o.State()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "optimizer.safetensors")
		if err := checkpoint.WriteSafetensors(path, map[string]string{"format": "pt"}, tensors); err != nil {
			t.Fatal(err)
		}
		again := weights(t, one)
		for i, p := range again {
			copy(p.Data.Host(), params[i].Data.Host())
		}
		take(t, dev, o, params, 2, 4)
		w, err := checkpoint.OpenFile(path)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		o2, err := New(name, one, again, settings)
		if err != nil {
			t.Fatal(err)
		}
		if err := o2.SetState(steps, w); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		take(t, one, o2, again, 2, 4)
		if !slices.Equal(read(t, one, again), read(t, dev, params)) || o2.Steps() != 4 {
			t.Errorf("%s: another result after %d steps", name, o2.Steps())
		}
		o.Close()
		if dev.Used() != used {
			t.Errorf("%s: Close kept %d bytes", name, dev.Used()-used)
		}
		if name == "sgd" {
			continue
		}
		other := map[bool]string{true: "sgd", false: "adafactor"}[name == "adafactor"]
		o3, err := New(other, one, again, settings)
		if err != nil {
			t.Fatal(err)
		}
		if err := o3.SetState(steps, w); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("the state of %s was taken for %s's: %v", name, other, err)
		}
	}
}

// On the interpreter every optimizer takes the same steps as on the CPU. Muon's iterations
// round to bf16, where a last bit may differ.
func TestEveryOptimizerOnADevice(t *testing.T) {
	for _, name := range kinds {
		host, dev := device(t, 2), sim.New(sim.Options{Workers: 2, Capability: 80})
		t.Cleanup(func() { dev.Close() })
		var got [2][]float32
		for i, d := range []driver.Device{host, dev} {
			params := weights(t, d)
			o, err := New(name, d, params, settings)
			if err != nil {
				t.Fatal(err)
			}
			take(t, d, o, params, 0, 3)
			got[i] = slices.Clone(read(t, d, params))
			o.Close()
		}
		tolerance := 1e-6
		if name == MuonName {
			tolerance = 2e-3
		}
		for i, x := range got[0] {
			if math.Abs(float64(got[1][i]-x)) > tolerance {
				t.Errorf("%s: weight %d is %v on the device, %v on the CPU", name, i, got[1][i], x)
				break
			}
		}
	}
}

// The steps of SGD and Muon are computed again in float64. Muon's direction is compared with
// the iteration in float64: five roundings to bf16 leave a difference of some percent.
func TestStepsInFloat64(t *testing.T) {
	dev := device(t, 1)
	for _, name := range []string{"sgd", MuonName} {
		params := weights(t, dev)
		before := slices.Clone(read(t, dev, params))
		o, err := New(name, dev, params, settings)
		if err != nil {
			t.Fatal(err)
		}
		take(t, dev, o, params, 0, 1)
		at := 0
		for _, p := range params {
			decay := 0.1
			if name == "sgd" && p.Name == "model.norm.weight" {
				decay = 0 // transformers 4.57 decays no norm
			}
			var u []float64
			rate, tolerance := 0.01, 1e-6
			g := make([]float64, p.Size())
			for i, x := range p.Grad.Host() {
				g[i] = 0.5 * float64(x)
			}
			switch {
			case name == "sgd":
				u = g
			case orthogonalised(p):
				u = orthogonal64(g, p.Shape[0], p.Shape[1])
				rate *= 0.2 * math.Sqrt(float64(max(p.Shape[0], p.Shape[1])))
				tolerance = 0.05 * rate
			default: // Adam's first step is the gradient's sign, but for ε
				for _, x := range g {
					u = append(u, x/(math.Abs(x)+1e-8/math.Sqrt(0.01)))
				}
			}
			for i := range g {
				want := float64(before[at+i])*(1-0.01*decay) - rate*u[i]
				if got := float64(p.Data.Host()[i]); math.Abs(got-want) > tolerance {
					t.Errorf("%s %s[%d]: %v, want %v", name, p.Name, i, got, want)
				}
			}
			at += len(g)
		}
	}
}

// orthogonal64 is Muon's iteration of one gradient: momentum makes it 1.95 times itself,
// which the norm divides out again.
func orthogonal64(g []float64, rows, cols int) []float64 {
	var norm float64
	for _, x := range g {
		norm += x * x
	}
	x := slices.Clone(g)
	for i := range x {
		x[i] /= math.Sqrt(norm)
	}
	mul := func(a, b []float64, n, k, m int, transposed bool) []float64 { // a [n, k] b [k, m], b given as [m, k] if transposed
		out := make([]float64, n*m)
		for i := range n {
			for j := range m {
				for l := range k {
					y := 0.0
					if transposed {
						y = b[j*k+l]
					} else {
						y = b[l*m+j]
					}
					out[i*m+j] += a[i*k+l] * y
				}
			}
		}
		return out
	}
	for range 5 {
		a := mul(x, x, rows, cols, rows, true)
		ax := mul(a, x, rows, rows, cols, false)
		aax := mul(a, ax, rows, rows, cols, false)
		for i := range x {
			x[i] = 3.4445*x[i] - 4.7750*ax[i] + 2.0315*aax[i]
		}
	}
	return x
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"adamw_torch": "", "adamw_8bit": "", "paged_lion_8bit": "", "adafactor": "",
		"rmsprop": "the nearest is adamw_torch", "galore_adafactor": "the nearest is adafactor", "schedule_free_sgd": "the nearest is sgd",
		"muon": "use_muon: true", "adam": `"adam" is unknown, known are: adafactor, adamw_8bit`,
	} {
		if err := Check(name); (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for name, near := range refused {
		if names[name].make != nil || names[near].make == nil {
			t.Errorf("%s is refused in favour of %s", name, near)
		}
	}
	for name, want := range map[string]string{"adamw_torch": "", "adamw_bnb_8bit": "in 8 bits", "paged_adamw_32bit": "paged to the host", "adamw_torch_4bit": "in 4 bits"} {
		if got := Equivalent(name); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
}

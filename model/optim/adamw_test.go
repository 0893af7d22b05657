package optim

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// golden reads a file of testdata, made by tools/golden/optim.py.
func golden[T any](t *testing.T, name string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

func device(t *testing.T, threads int) *cpu.Device {
	t.Helper()
	dev := cpu.New(threads)
	t.Cleanup(func() { dev.Close() })
	return dev
}

// param makes a trainable parameter that holds data.
func param(t *testing.T, dev driver.Device, name string, shape []int, data []float32) *tensor.Param {
	t.Helper()
	p, err := tensor.New(dev, name, shape...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Train(dev); err != nil {
		t.Fatal(err)
	}
	copy(p.Data.Host(), data)
	return p
}

// run is a recorded run of torch.optim.AdamW with clip_grad_norm_.
type run struct {
	Betas   [2]float64
	Eps     float64
	MaxNorm float64 `json:"max_norm"`
	Params  []struct {
		Name        string
		Shape       []int
		LRScale     float64 `json:"lr_scale"`
		WeightDecay float64 `json:"weight_decay"`
		Data        []float32
	}
	Steps []struct {
		LR, Norm          float64
		Clip              float32
		Grads, Data, M, V map[string][]float32
	}
}

func (r run) start(t *testing.T, dev driver.Device) ([]*tensor.Param, *AdamW) {
	t.Helper()
	var params []*tensor.Param
	var groups []Group
	for _, p := range r.Params {
		params = append(params, param(t, dev, p.Name, p.Shape, p.Data))
		groups = append(groups, Group{params[len(params)-1:], p.LRScale, p.WeightDecay})
	}
	o, err := NewAdamW(dev, groups, r.Betas[0], r.Betas[1], r.Eps)
	if err != nil {
		t.Fatal(err)
	}
	return params, o
}

func (r run) step(dev driver.Device, i int, params []*tensor.Param, o *AdamW) (norm float64) {
	for _, p := range params {
		copy(p.Grad.Host(), r.Steps[i].Grads[p.Name])
	}
	norm = GradNorm(dev, params)
	o.Step(r.Steps[i].LR, r.Steps[i].Clip)
	return norm
}

// Weights, moments and norms after every step are torch 2.7.1's, within two units
// in the last place of the largest entry. torch computes the norm and with it the
// clip factor in float32, we do in float64: the steps are taken with torch's.
func TestAdamWIsTorchs(t *testing.T) {
	r := golden[run](t, "adamw")
	dev := device(t, 2)
	params, o := r.start(t, dev)
	for i, want := range r.Steps {
		norm := r.step(dev, i, params, o)
		if math.Abs(norm-want.Norm) > 2e-7*want.Norm {
			t.Errorf("step %d: norm %v, want %v", i, norm, want.Norm)
		}
		if c := Clip(norm, r.MaxNorm); math.Abs(float64(c-want.Clip)) > 2e-7 {
			t.Errorf("step %d: clip factor %v, want %v", i, c, want.Clip)
		}
		for _, p := range params {
			near(t, i, p.Name, p.Data.Host(), want.Data[p.Name])
			_ = o.Moments(p, func(m, v driver.F32) error { // the function has no error
				near(t, i, "m."+p.Name, m.Host(), want.M[p.Name])
				near(t, i, "v."+p.Name, v.Host(), want.V[p.Name])
				return nil
			})
		}
	}
	if o.Steps() != len(r.Steps) {
		t.Errorf("%d steps counted", o.Steps())
	}
}

func near(t *testing.T, step int, name string, got, want []float32) {
	t.Helper()
	var largest float64
	for _, w := range want {
		largest = math.Max(largest, math.Abs(float64(w)))
	}
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= 2*0x1p-24*largest) {
			t.Fatalf("step %d: %s[%d] = %v, want %v", step, name, i, got[i], want[i])
		}
	}
}

// Stopping after any step, saving the state and continuing from the file gives the bits of an
// uninterrupted run, on any number of threads.
func TestStateContinuesExactly(t *testing.T) {
	r := golden[run](t, "adamw")
	dev := device(t, 2)
	params, o := r.start(t, dev)
	for i := range r.Steps {
		r.step(dev, i, params, o)
	}
	for stop := range len(r.Steps) {
		one := device(t, 1+stop%3)
		resumed := continueFrom(t, r, one, stop)
		for i, p := range resumed {
			if !slices.Equal(p.Data.Host(), params[i].Data.Host()) {
				t.Errorf("stopped after %d: %s differs", stop, p.Name)
			}
		}
	}
}

func continueFrom(t *testing.T, r run, dev driver.Device, stop int) []*tensor.Param {
	t.Helper()
	params, o := r.start(t, dev)
	for i := range stop {
		r.step(dev, i, params, o)
	}
	steps, tensors, err := o.State()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "optimizer.safetensors")
	if err := checkpoint.WriteSafetensors(path, nil, tensors); err != nil {
		t.Fatal(err)
	}
	weights := make([][]float32, len(params))
	for i, p := range params {
		weights[i] = slices.Clone(p.Data.Host())
	}
	o.Close()

	params, o = r.start(t, dev)
	for i, p := range params {
		copy(p.Data.Host(), weights[i])
	}
	w, err := checkpoint.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := o.SetState(steps, w); err != nil {
		t.Fatal(err)
	}
	for i := stop; i < len(r.Steps); i++ {
		r.step(dev, i, params, o)
	}
	return params
}

func TestSetStateRefusesAnotherRun(t *testing.T) {
	dev := device(t, 1)
	state := func(names ...string) string {
		var tensors []checkpoint.Tensor
		for _, n := range names {
			tensors = append(tensors, checkpoint.Tensor{Name: n, Shape: []int{2}, F32: make([]float32, 2)})
		}
		path := filepath.Join(t.TempDir(), "optimizer.safetensors")
		if err := checkpoint.WriteSafetensors(path, nil, tensors); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path  string
		shape int
		want  string
	}{
		{state("m.a"), 2, `no tensor "v.a"`},
		{state("m.a", "v.a", "m.b", "v.b"), 2, "has 4 tensors and this run's optimizer 2"},
		{state("m.a", "v.a"), 3, `tensor "m.a" has shape [2]`},
	} {
		p := param(t, dev, "a", []int{c.shape}, nil)
		o, err := NewAdamW(dev, []Group{{[]*tensor.Param{p}, 1, 0}}, 0.9, 0.999, 1e-8)
		if err != nil {
			t.Fatal(err)
		}
		w, err := checkpoint.OpenFile(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := o.SetState(3, w); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if o.Steps() != 0 {
			t.Errorf("%d steps after a refused state", o.Steps())
		}
		w.Close()
	}
}

func TestNewAdamWRefuses(t *testing.T) {
	dev := device(t, 1)
	p := []*tensor.Param{param(t, dev, "a", []int{2}, nil)}
	for _, c := range []struct {
		beta1, beta2, eps, decay float64
		want                     string
	}{
		{1, 0.9, 1e-8, 0, "adam_beta1"},
		{0.9, math.NaN(), 1e-8, 0, "adam_beta2"},
		{0.9, 0.9, -1, 0, "adam_epsilon"},
		{0.9, 0.9, 1e-8, -1, "weight_decay"},
	} {
		if _, err := NewAdamW(dev, []Group{{p, 1, c.decay}}, c.beta1, c.beta2, c.eps); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	used := dev.Used()
	o, err := NewAdamW(dev, []Group{{p, 1, 0}}, 0.9, 0.999, 1e-8)
	if err != nil || dev.Used() != used+16 || o.Bytes() != 16 {
		t.Errorf("%v, %d bytes for the moments of 2 floats", err, dev.Used()-used)
	}
	o.Close()
	if dev.Used() != used {
		t.Errorf("Close kept %d bytes", dev.Used()-used)
	}
}

// Which parameters of llama, qwen2, qwen3 and gemma2 transformers 4.52.4 decays.
func TestNoDecay(t *testing.T) {
	for name, decayed := range golden[map[string]bool](t, "decayed") {
		if NoDecay(name) == decayed {
			t.Errorf("NoDecay(%q) = %v", name, !decayed)
		}
	}
}

func TestGroups(t *testing.T) {
	names := []string{
		"model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.q_proj.bias", "model.norm.weight",
		"x.lora_A.weight", "x.lora_B.weight", "e.lora_embedding_A", "e.lora_embedding_B",
	}
	var params []*tensor.Param
	for _, n := range names {
		p := &tensor.Param{Name: n, Shape: []int{2, 2}}
		if strings.HasSuffix(n, "bias") || strings.Contains(n, "norm") {
			p.Shape = []int{2}
		}
		params = append(params, p)
	}
	describe := func(groups []Group) (out []string) {
		for _, g := range groups {
			b, err := json.Marshal([]float64{g.LRScale, g.WeightDecay})
			if err != nil {
				t.Fatal(err)
			}
			line := string(b)
			for _, p := range g.Params {
				line += " " + p.Name
			}
			out = append(out, line)
		}
		return out
	}
	for _, c := range []struct {
		got, want []string
	}{
		{describe(Groups(params[:3], 0.1)), []string{"[1,0.1] " + names[0] + " " + names[2], "[1,0] " + names[1]}},
		{describe(Groups(params[3:5], 0.1)), []string{"[1,0.1] " + names[3] + " " + names[4]}},
		{describe(LoRAPlus(params, 0.1, 0.5, 16, 0.125)), []string{
			"[1,0.1] " + names[0] + " " + names[3] + " " + names[5],
			"[16,0.1] " + names[2] + " " + names[4],
			"[16,0] " + names[1],
			"[0.25,0.1] " + names[6],
		}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("got  %q\nwant %q", c.got, c.want)
		}
	}
}

func TestClip(t *testing.T) {
	for _, c := range []struct {
		norm, limit float64
		want        float32
	}{{2, 1, float32(1 / 2.000001)}, {0.5, 1, 1}, {0, 1, 1}, {5, 0, 1}, {5, -1, 1}, {1, 1, float32(1 / 1.000001)}} {
		if got := Clip(c.norm, c.limit); got != c.want {
			t.Errorf("Clip(%v, %v) = %v, want %v", c.norm, c.limit, got, c.want)
		}
	}
	if c := Clip(math.NaN(), 1); c == c {
		t.Errorf("NaN norm: %v", c)
	}
}

// The norm's bits do not depend on the number of threads, and one NaN or Inf gradient makes it
// NaN or Inf.
func TestGradNorm(t *testing.T) {
	const n = 100_003
	var first float64
	for threads := 1; threads <= 4; threads++ {
		dev := device(t, threads)
		params := []*tensor.Param{param(t, dev, "a", []int{n}, nil), param(t, dev, "b", []int{3}, nil)}
		var want float64
		for _, p := range params {
			for i, g := 0, p.Grad.Host(); i < len(g); i++ {
				g[i] = float32(math.Sin(float64(i)))
				want += float64(g[i]) * float64(g[i])
			}
		}
		norm := GradNorm(dev, params)
		if threads == 1 {
			first = norm
		}
		if norm != first || math.Abs(norm-math.Sqrt(want)) > 1e-12*norm {
			t.Errorf("%d threads: %v, on one %v, want %v", threads, norm, first, math.Sqrt(want))
		}
		params[1].Grad.Host()[2] = float32(math.NaN())
		if norm := GradNorm(dev, params); norm == norm {
			t.Errorf("NaN gradient: norm %v", norm)
		}
	}
}

// TestLaunches: a step over the 448 matrices of a LoRA of 32 layers and the norm of their
// gradients take seven and eight launches; a launch for each parameter, and two for each
// norm, were 448 and 896.
func TestLaunches(t *testing.T) {
	dev := sim.New(sim.Options{})
	t.Cleanup(func() { dev.Close() })
	var params []*tensor.Param
	for i := range 448 {
		p, err := tensor.New(dev, fmt.Sprint(i), 1, 8)
		if err == nil {
			err = p.Train(dev)
		}
		if err != nil {
			t.Fatal(err)
		}
		params = append(params, p)
	}
	o, err := NewAdamW(dev, []Group{{Params: params, LRScale: 1}}, 0.9, 0.999, 1e-8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	dev.ResetCounters()
	o.Step(1e-3, Clip(GradNorm(dev, params), 1))
	launches := map[string]uint64{}
	for _, c := range dev.Totals() {
		launches[c.Kernel] = uint64(c.Launches)
	}
	if want := map[string]uint64{"adamw_step": 7, "reduce_sum_squares_partial": 4, "reduce_sum_partials": 4}; !maps.Equal(launches, want) {
		t.Errorf("launches %v, want %v", launches, want)
	}
}

package decoder

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// tableCases are adapters on the embeddings and the head, and what peft 0.18.1 computes
// with them (tools/golden/peft_tables.py).
type tableCases struct {
	IDs      []int32
	Adapters map[string]struct {
		Base      string
		Loss      float64
		Merged    *float64             // loss of the merged model; nil where PEFT's merge is wrong
		Gradients map[string][]float64 // sum, sum of magnitudes, first, last, sum weighted with the index
		Steps     []float64            // losses of four steps of AdamW
		After     map[string][]float64 // of the parameters, like Gradients
	}
}

const tablesDir = "testdata/peft_tables"

func readTableCases(t *testing.T) (c tableCases) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(tablesDir, "golden.json"))
	must(t, err)
	must(t, json.Unmarshal(raw, &c))
	return c
}

func (c tableCases) batch() Batch {
	return Batch{Tokens: c.IDs, Targets: append(append([]int32(nil), c.IDs[1:]...), -1)}
}

func mean(losses []float32, n int) float64 {
	var sum float64
	for _, l := range losses {
		sum += float64(l)
	}
	return sum / float64(n)
}

// summary is what golden.json says of a tensor.
func summary(x []float32) [5]float64 {
	s := [5]float64{2: float64(x[0]), 3: float64(x[len(x)-1])}
	for i, v := range x {
		s[0] += float64(v)
		s[1] += math.Abs(float64(v))
		s[4] += float64(v) * float64(i)
	}
	return s
}

// near compares summaries: sums to tolerance times the sum of magnitudes.
func near(got [5]float64, want []float64, n int, tolerance float64) bool {
	for i, w := range want {
		scale := want[1]
		if i == 4 {
			scale *= float64(n)
		}
		if math.Abs(got[i]-w) > tolerance*(scale+1e-3) {
			return false
		}
	}
	return true
}

// peftName is p's name in PEFT's model.
func peftName(name string) string {
	name = strings.TrimSuffix(name, ".weight")
	if strings.HasSuffix(name, "lora_A") || strings.HasSuffix(name, "lora_B") || strings.HasSuffix(name, "lora_magnitude_vector") {
		return name + ".weight"
	}
	return name
}

// TestAdaptersOnTables: adapters and tokens on the embeddings and the head, tied or not,
// have PEFT's losses, gradients, steps and merged weights, and are saved as they were read.
func TestAdaptersOnTables(t *testing.T) {
	cases := readTableCases(t)
	n := len(cases.IDs) - 1
	for name, want := range cases.Adapters {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(tablesDir, name)
			m := load(t, filepath.Join(tablesDir, want.Base), Options{})
			must(t, m.LoadAdapter(dir))
			b, weight := cases.batch(), make([]float32, n+1)
			for i := range weight {
				weight[i] = 1 / float32(n)
			}
			losses, err := m.Losses(cases.batch(), 0)
			must(t, err)
			if got := mean(losses, n); math.Abs(got-want.Loss) > 1e-5 {
				t.Errorf("loss %v, want %v", got, want.Loss)
			}
			saved := t.TempDir()
			must(t, m.SaveAdapter(saved))
			sameAdapter(t, saved, dir)

			if got, want := len(m.Trainable()), len(want.Gradients); got != want {
				t.Errorf("%d tensors train, want %d", got, want)
			}
			moments := map[*tensor.Param][2][]float32{}
			for step, loss := range want.Steps {
				for _, p := range m.Trainable() {
					clear(p.Grad.Host())
				}
				losses, err := m.Backward(b, Objective{Weight: weight, Train: true})
				must(t, err)
				if got := mean(losses, n); math.Abs(got-loss) > 5e-5 {
					t.Errorf("step %d: loss %v, want %v", step, got, loss)
				}
				for _, p := range m.Trainable() {
					if step == 0 {
						moments[p] = [2][]float32{make([]float32, p.Size()), make([]float32, p.Size())}
						if g, ok := want.Gradients[peftName(p.Name)]; !ok || !near(summary(p.Grad.Host()), g, p.Size(), 2e-5) {
							t.Errorf("gradient of %s: %v, want %v", p.Name, summary(p.Grad.Host()), g)
						}
					}
					stepAdamW(p, moments[p], step+1)
				}
			}
			for _, p := range m.Trainable() {
				if got := summary(p.Data.Host()); !near(got, want.After[peftName(p.Name)], p.Size(), 1e-4) {
					t.Errorf("%s after four steps: %v, want %v", p.Name, got, want.After[peftName(p.Name)])
				}
			}

			merged := load(t, filepath.Join(tablesDir, want.Base), Options{})
			must(t, merged.LoadAdapter(dir))
			must(t, merged.Merge())
			exported := t.TempDir()
			must(t, merged.SaveFull(exported))
			losses, err = load(t, exported, Options{}).Losses(cases.batch(), 0)
			must(t, err)
			reference := want.Loss
			if want.Merged != nil {
				reference = *want.Merged
			}
			if got := mean(losses, n); math.Abs(got-reference) > 2e-5 {
				t.Errorf("loss of the exported model %v, want %v", got, reference)
			}
		})
	}
}

// stepAdamW is torch's AdamW with lr 0.02 and a weight decay of 0.1, in float64.
func stepAdamW(p *tensor.Param, moments [2][]float32, step int) {
	const lr, decay, b1, b2, eps = 0.02, 0.1, 0.9, 0.999, 1e-8
	w, g := p.Data.Host(), p.Grad.Host()
	for i := range w {
		m := b1*float64(moments[0][i]) + (1-b1)*float64(g[i])
		v := b2*float64(moments[1][i]) + (1-b2)*float64(g[i])*float64(g[i])
		moments[0][i], moments[1][i] = float32(m), float32(v)
		m, v = m/(1-math.Pow(b1, float64(step))), v/(1-math.Pow(b2, float64(step)))
		w[i] = float32(float64(w[i])*(1-lr*decay) - lr*m/(math.Sqrt(v)+eps))
	}
}

// sameAdapter compares the tensors of two adapters' files, names, shapes and bits, and
// what their configs say.
func sameAdapter(t *testing.T, got, want string) {
	t.Helper()
	read := func(dir string) map[string][]float32 {
		w, err := checkpoint.OpenAdapter(dir)
		must(t, err)
		defer w.Close()
		all := map[string][]float32{}
		for _, name := range w.Names() {
			shape, _ := w.Shape(name)
			size := 1
			for _, d := range shape {
				size *= d
			}
			x := make([]float32, size)
			must(t, w.ReadFloat32(name, x))
			all[name] = x
		}
		return all
	}
	g, w := read(got), read(want)
	for name, x := range w {
		if !slices.Equal(g[name], x) {
			t.Errorf("tensor %s is saved as %v, was %v", name, g[name], x)
		}
	}
	if len(g) != len(w) {
		t.Errorf("%d tensors are saved, there were %d", len(g), len(w))
	}
	config := func(dir string) map[string]any {
		raw, err := storage.ReadFile(filepath.Join(dir, storage.AdapterConfigFile))
		must(t, err)
		c := map[string]any{}
		must(t, json.Unmarshal(raw, &c))
		return c
	}
	is, was := config(got), config(want)
	for key, v := range is {
		if !reflect.DeepEqual(v, was[key]) && key != "base_model_name_or_path" && key != "inference_mode" {
			t.Errorf("adapter_config.json: %s is %v, was %v", key, v, was[key])
		}
	}
}

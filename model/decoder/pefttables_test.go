package decoder

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// tableCases are adapters on the embeddings and the head, and what peft 0.18.1 computes
// with them (tools/golden/peft_tables.py).
type tableCases struct {
	IDs      []int32
	Adapters map[string]struct {
		Base      string
		ID6       int32 // the id at position 6: 24 if the vocabulary has grown
		Loss      float64
		Merged    *float64             // loss of the merged model; nil if PEFT's merge is wrong
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

func (c tableCases) batch(id6 int32) Batch {
	ids := slices.Clone(c.IDs)
	ids[6] = id6
	return Batch{Tokens: ids, Targets: append(slices.Clone(ids[1:]), -1)}
}

func mean(losses []float32, n int) float64 {
	var sum float64
	for _, l := range losses {
		sum += float64(l)
	}
	return sum / float64(n)
}

// summary is what golden.json has of a tensor.
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

// peftName returns p's name in PEFT's model.
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
			b, weight := cases.batch(want.ID6), make([]float32, n+1)
			for i := range weight {
				weight[i] = 1 / float32(n)
			}
			losses, err := m.Losses(cases.batch(want.ID6), 0)
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
			losses, err = load(t, exported, Options{}).Losses(cases.batch(want.ID6), 0)
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

// sameAdapter compares two adapters' files: names, shapes and bits of the tensors, and the
// configurations.
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
			t.Errorf("tensor %s is saved with %d values, others than the %d of the file", name, len(g[name]), len(x))
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

// TestTablesOnTheInterpreter compares losses and gradients of adapters on the tables with
// the host's, in float32 and in bf16, with dropout and without.
func TestTablesOnTheInterpreter(t *testing.T) {
	for _, l := range []LoRA{{}, {Dropout: 0.3}, {DoRA: true}, {DoRA: true, Dropout: 0.3}} {
		for _, half := range []bool{false, true} {
			l.Rank, l.Alpha, l.Targets = 3, 3, []string{"q_proj", "embed_tokens", "lm_head"}
			host, dev := randomOn(t, cpu.New(2), tensorCored(), false), randomOn(t, optest.Device(t, 80), tensorCored(), half)
			for _, m := range []*Model{host, dev} {
				spread(t, m)
				adapt(t, m, l)
			}
			b := ragged(host)
			o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 5}
			want, got := passOn(t, host, b, o), passOn(t, dev, b, o)
			closeToHost(t, fmt.Sprintf("%+v bf16 %v", l, half), half, got, want)
		}
	}
}

// TestTokensOnTheInterpreter: the same for single trained rows.
func TestTokensOnTheInterpreter(t *testing.T) {
	for _, half := range []bool{false, true} {
		host, dev := randomOn(t, cpu.New(2), tensorCored(), false), randomOn(t, optest.Device(t, 80), tensorCored(), half)
		for _, m := range []*Model{host, dev} {
			spread(t, m)
			on, err := m.match(LoRA{Targets: []string{"q_proj"}})
			must(t, err)
			on.tokens = []checkpoint.TokenRows{{Path: m.tables().Embedding, Index: []int32{3, 1, 5}, Name: "embeddings"}, {Path: m.tables().Head, Index: []int32{2, 7}, Name: "head"}}
			must(t, m.attach(LoRA{Rank: 2}, on, func(string) (int, float32) { return 2, 1 }))
			r := rand.New(rand.NewPCG(3, 4))
			for _, p := range m.Trainable() {
				must(t, p.Write(m.dev, func(x []float32) error {
					for i := range x {
						x[i] = r.Float32() - 0.5
					}
					return nil
				}))
			}
		}
		b := ragged(host)
		want, got := passOn(t, host, b, Objective{}), passOn(t, dev, b, Objective{})
		closeToHost(t, fmt.Sprintf("bf16 %v", half), half, got, want)
	}
}

// TestTablesDifferences compares the gradients of adapters on the tables with finite
// differences, with dropout, and with more rows than one block of the head.
func TestTablesDifferences(t *testing.T) {
	m := random(t, 2, small())
	spread(t, m)
	adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.3, Targets: []string{"embed_tokens", "lm_head"}})
	b := Batch{}
	for i := range 600 {
		b.Tokens, b.Targets = append(b.Tokens, int32(i*7%m.config.Vocab)), append(b.Targets, int32((i*5+1)%m.config.Vocab))
		if i%50 == 0 {
			b.Segments = append(b.Segments, int32(i))
		}
	}
	b.Segments = append(b.Segments, 600)
	o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 11}
	_, all := gradients(t, m, b, o)
	all = slices.Clone(all)
	at := 0
	for _, p := range m.Trainable() {
		gradient, w := all[at:at+p.Size()], p.Data.Host()
		at += p.Size()
		scale := slicesNorm(gradient)/math.Sqrt(float64(len(gradient))) + 4e-3
		for i := 0; i < len(w); i += 1 + len(w)/3 {
			old := w[i]
			move := func(h float32) float64 {
				w[i] = old + h
				x := scalar(t, m, b, o)
				w[i] = old
				return x
			}
			const h = 1.0 / 32
			central := func(h float32) float64 { return (move(h) - move(-h)) / (2 * float64(h)) }
			want := (4*central(h/2) - central(h)) / 3
			if d := math.Abs(float64(gradient[i]) - want); d > 0.01*(math.Abs(want)+scale) {
				t.Errorf("%s[%d]: gradient %g, slope %g", p.Name, i, gradient[i], want)
			}
		}
	}
}

// TestGenerationWithTables: generation with a cache, and predictions, have the logits of a full
// pass, with adapters on both tables and with soft-capped logits.
func TestGenerationWithTables(t *testing.T) {
	for _, name := range []string{"lora", "lora_gemma2", "dora_tied", "tokens_both"} {
		c := readTableCases(t)
		m := load(t, filepath.Join(tablesDir, c.Adapters[name].Base), Options{})
		must(t, m.LoadAdapter(filepath.Join(tablesDir, name)))
		prompt := c.IDs[:8]
		losses := make([]float32, m.config.Vocab) // of every next token
		best := int32(0)
		for next := range losses {
			targets := slices.Repeat([]int32{-1}, len(prompt))
			targets[len(prompt)-1] = int32(next)
			l, err := m.Losses(Batch{Tokens: prompt, Targets: targets}, 0)
			must(t, err)
			if losses[next] = l[len(prompt)-1]; losses[next] < losses[best] {
				best = int32(next)
			}
		}
		cache, err := m.NewCache(1, 16)
		must(t, err)
		_, err = cache.Prefill([]int{0}, [][]int32{prompt[:7]})
		must(t, err)
		z, err := cache.Step([]int{0}, prompt[7:])
		must(t, err)
		for j := range z {
			if d := float64(z[j]-z[0]) + float64(losses[j]-losses[0]); math.Abs(d) > 1e-4 {
				t.Errorf("%s: the logit of token %d is off by %g", name, j, d)
			}
		}
		targets := slices.Repeat([]int32{-1}, len(prompt))
		targets[len(prompt)-1] = 0
		got, err := m.Predictions(Batch{Tokens: prompt, Targets: targets})
		must(t, err)
		if got[len(prompt)-1] != best {
			t.Errorf("%s: predicted %d, want %d", name, got[len(prompt)-1], best)
		}
		cache.Close()
	}
}

// TestResizedAdapters: adapters of models with a resized vocabulary, or with a bias of the
// head, load as PEFT 0.18 writes them, which holds some weights twice, are saved, and merge.
func TestResizedAdapters(t *testing.T) {
	const folder = "testdata/peft_resized"
	recorded := readAdapterLosses(t, folder)
	for name, want := range recorded.Adapters {
		t.Run(name, func(t *testing.T) {
			base, out := filepath.Join(folder, want.Base), t.TempDir()
			m := load(t, base, Options{})
			must(t, m.LoadAdapter(filepath.Join(folder, name)))
			meanLoss(t, m, recorded.IDs, want.Loss)
			must(t, m.SaveAdapter(out))
			must(t, m.Merge())
			meanLoss(t, m, recorded.IDs, want.Loss)
			again := load(t, base, Options{})
			must(t, again.LoadAdapter(out))
			meanLoss(t, again, recorded.IDs, want.Loss)
		})
	}
}

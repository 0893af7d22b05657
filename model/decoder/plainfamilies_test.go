package decoder

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
)

const plainFolder = "testdata/plain_families"

// plainRecord is what transformers and PEFT computed with a folder of plainFolder
// (tools/golden/plain_families.py), or of recurrentFolder (tools/golden/recurrent_families.py).
type plainRecord struct {
	Base      string // of an adapter
	Loss      float64
	Aux       float64 // balance loss
	Packed    bool    // experts are in MXFP4; then only the loss was recorded
	Greedy    []int32
	Gradients map[string][2]float64 // of every tensor: its length, its product with cos(0), cos(1), …

	FanInFanOut bool `json:"fan_in_fan_out"`
}

func plainRecords(t *testing.T, folder string) (ids []int32, models, adapters map[string]plainRecord) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder, "recorded.json"))
	must(t, err)
	var all struct {
		IDs      []int32
		Recorded map[string]plainRecord
	}
	must(t, json.Unmarshal(raw, &all))
	models, adapters = map[string]plainRecord{}, map[string]plainRecord{}
	for name, r := range all.Recorded {
		if r.Base == "" {
			models[name] = r
		} else {
			adapters[name] = r
		}
	}
	return all.IDs, models, adapters
}

// meanLoss checks the mean of the losses of ids, each from the ones before it.
func meanLoss(t *testing.T, m *Model, ids []int32, want float64) {
	t.Helper()
	losses, err := m.Losses(following(ids), 0)
	must(t, err)
	var sum float64
	for _, l := range losses {
		sum += float64(l)
	}
	if got := sum / float64(len(ids)-1); math.Abs(got-want) > 1e-5*want {
		t.Errorf("loss %v, want %v", got, want)
	}
}

func following(ids []int32) Batch {
	return Batch{Tokens: ids, Targets: append(slices.Clone(ids[1:]), -1)}
}

// TestPlainFamilies: losses, every gradient and greedy continuations equal transformers' in the
// families with LayerNorm, MLPs without a gate, biases, parallel residuals and learned
// positions, on the host; losses and gradients on the interpreter, too.
func TestPlainFamilies(t *testing.T) {
	ids, models, _ := plainRecords(t, plainFolder)
	for name, want := range models {
		t.Run(name, func(t *testing.T) {
			m := load(t, filepath.Join(plainFolder, name), Options{})
			meanLoss(t, m, ids, want.Loss)
			plainGreedy(t, m, ids, want.Greedy)
			plainGradients(t, m, ids, want.Gradients)

			dev := sim.New(sim.Options{})
			m, err := Load(dev, filepath.Join(plainFolder, name), Options{})
			must(t, err)
			defer m.Close()
			plainGradients(t, m, ids, want.Gradients)
			meanLoss(t, m, ids, want.Loss)
		})
	}
}

func plainGreedy(t *testing.T, m *Model, ids, want []int32) {
	t.Helper()
	cache, err := m.NewCache(1, len(ids)+len(want))
	must(t, err)
	defer cache.Close()
	z, err := cache.Prefill([]int{0}, [][]int32{ids})
	for i, id := range want {
		must(t, err)
		if got := argmax(z); got != id {
			t.Errorf("token %d of the answer is %d, want %d", i, got, id)
			return
		}
		if i < len(want)-1 {
			z, err = cache.Step([]int{0}, []int32{id})
		}
	}
}

// rounding bounds a gradient that is mathematically 0, such as that of key biases without
// rotary embedding: sums of float32 numbers near 1.
const rounding = 3e-7

func plainGradients(t *testing.T, m *Model, ids []int32, want map[string][2]float64) {
	t.Helper()
	gradientsWithin(t, m, ids, want, 1e-5)
}

// gradientsWithin compares gradients; the error may be that share of their lengths.
func gradientsWithin(t *testing.T, m *Model, ids []int32, want map[string][2]float64, tolerance float64) {
	t.Helper()
	must(t, m.TrainAll())
	b := following(ids)
	weight := slices.Repeat([]float32{1 / float32(len(ids)-1)}, len(ids))
	_, err := m.Backward(b, Objective{Weight: weight})
	must(t, err)
	seen := 0
	for _, p := range m.Trainable() {
		g, err := driver.Read(m.dev, p.Grad)
		must(t, err)
		for _, s := range m.layouts[p].split(p.Name, p.Shape, g) {
			seen++
			var squares, product float64
			for i, v := range s.F32 {
				squares += float64(v) * float64(v)
				product += float64(v) * math.Cos(float64(i))
			}
			r, ok := want[s.Name]
			length := math.Sqrt(squares)
			if !ok || math.Abs(length-r[0]) > tolerance*r[0]+rounding || math.Abs(product-r[1]) > tolerance*r[0]*math.Sqrt(float64(len(s.F32)))+rounding {
				t.Errorf("gradient of %s: %g and %g, want %v", s.Name, length, product, r)
			}
		}
	}
	if seen != len(want) {
		t.Errorf("%d gradients, recorded are %d", seen, len(want))
	}
}

// TestPlainFamiliesAreSavedAsTheyWere: a model that is loaded and saved has the tensors of
// its folder, to the last bit.
func TestPlainFamiliesAreSavedAsTheyWere(t *testing.T) {
	_, models, _ := plainRecords(t, plainFolder)
	for name := range models {
		t.Run(name, func(t *testing.T) {
			dir, out := filepath.Join(plainFolder, name), t.TempDir()
			must(t, load(t, dir, Options{}).SaveFull(out))
			sameTensors(t, filepath.Join(out, storage.ModelFile), filepath.Join(dir, storage.ModelFile))
			load(t, out, Options{})
		})
	}
}

func sameTensors(t *testing.T, got, want string) {
	t.Helper()
	a, err := checkpoint.OpenFile(got)
	must(t, err)
	defer a.Close()
	b, err := checkpoint.OpenFile(want)
	must(t, err)
	defer b.Close()
	if !slices.Equal(slices.Sorted(slices.Values(a.Names())), slices.Sorted(slices.Values(b.Names()))) {
		t.Fatalf("tensors %v, want %v", a.Names(), b.Names())
	}
	for _, name := range b.Names() {
		x, y := floats(t, a, name), floats(t, b, name)
		shapeA, _ := a.Shape(name)
		shapeB, _ := b.Shape(name)
		if !slices.Equal(shapeA, shapeB) || !slices.Equal(x, y) {
			t.Errorf("%s differs, shapes %v and %v", name, shapeA, shapeB)
		}
	}
}

// TestPlainAdapters: PEFT's adapters on Conv1D, and on linear layers with names of other
// families, have its losses, are saved as they were, and merge; a new adapter has PEFT's
// fan_in_fan_out.
func TestPlainAdapters(t *testing.T) {
	ids, _, adapters := plainRecords(t, plainFolder)
	for name, want := range adapters {
		t.Run(name, func(t *testing.T) {
			base, dir, out := filepath.Join(plainFolder, want.Base), filepath.Join(plainFolder, name), t.TempDir()
			adapterRoundTrip(t, ids, base, dir, out, want.Loss)
			text, err := os.ReadFile(filepath.Join(out, storage.AdapterConfigFile))
			must(t, err)
			if got := strings.Contains(string(text), `"fan_in_fan_out": true`); got != want.FanInFanOut {
				t.Errorf("a new adapter has fan_in_fan_out %v, PEFT's %v", got, want.FanInFanOut)
			}
		})
	}
}

// TestLearnedPositions: sequences longer than the table of positions are refused, and so is
// scaling of positions.
func TestLearnedPositions(t *testing.T) {
	dir := filepath.Join(plainFolder, "gpt2")
	m := load(t, dir, Options{})
	if _, err := m.Losses(following(make([]int32, 32)), 0); err != nil {
		t.Error(err)
	}
	if _, err := m.Losses(following(make([]int32, 33)), 0); err == nil || !strings.Contains(err.Error(), "position 32") {
		t.Errorf("got %v", err)
	}
	stretched := Options{MaxPositions: 64}
	stretched.Rope = &m.config.Rope
	stretched.Rope.Type, stretched.Rope.Factor = "linear", 2
	if _, err := Load(m.dev, dir, stretched); err == nil || !strings.Contains(err.Error(), "learned positions, which rope_scaling cannot stretch") {
		t.Errorf("got %v", err)
	}
}

// TestFlatFolder: files of the first gpt2 lack the prefix of the layers' path, and contain
// attention masks.
func TestFlatFolder(t *testing.T) {
	ids, models, _ := plainRecords(t, plainFolder)
	for name, buffer := range map[string]string{"gpt2": "h.0.attn.bias", "gpt_neox": "gpt_neox.layers.1.attention.masked_bias"} {
		dir, out := filepath.Join(plainFolder, name), t.TempDir()
		w, err := checkpoint.OpenFile(filepath.Join(dir, storage.ModelFile))
		must(t, err)
		tensors := []checkpoint.Tensor{{Name: buffer, Shape: []int{1}, F32: []float32{1}}}
		for _, n := range w.Names() {
			shape, _ := w.Shape(n)
			tensors = append(tensors, checkpoint.Tensor{Name: strings.TrimPrefix(n, "transformer."), Shape: shape, F32: floats(t, w, n)})
		}
		must(t, w.Close())
		must(t, checkpoint.WriteSafetensors(filepath.Join(out, storage.ModelFile), nil, tensors))
		config, err := os.ReadFile(filepath.Join(dir, storage.ConfigFile))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(out, storage.ConfigFile), config, 0o600))
		meanLoss(t, load(t, out, Options{}), ids, models[name].Loss)
	}
}

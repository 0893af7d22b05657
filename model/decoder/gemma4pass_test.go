package decoder

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/model/checkpoint"
)

// gemma4Shapes are those whose layers share keys, have inputs of their own, or experts.
var gemma4Shapes = []string{"shared", "equal", "equal-shared", "experts"}

// TestGemma4Samples: see samplesAsAlone.
func TestGemma4Samples(t *testing.T) {
	for _, name := range gemma4Shapes {
		t.Run(name, func(t *testing.T) { samplesAsAlone(t, gemma4Folder, name, 3, 10, 2, 8) })
	}
}

// TestGemma4Cache: prompts and steps with a cache, which layers share, give the logits of
// the whole, even if a slot is reused.
func TestGemma4Cache(t *testing.T) {
	ids, _, _ := plainRecords(t, gemma4Folder)
	for _, name := range gemma4Shapes {
		t.Run(name, func(t *testing.T) {
			m := load(t, filepath.Join(gemma4Folder, name), Options{})
			cache, err := m.NewCache(3, 2*len(ids))
			must(t, err)
			defer cache.Close()
			_, err = cache.Prefill([]int{0, 1, 2}, [][]int32{ids[:9], ids[4:], ids[:1]})
			must(t, err)
			z, err := cache.Prefill([]int{2, 0}, [][]int32{ids[:2], ids[3:7]})
			must(t, err)
			for i := range 5 {
				z = slices.Clone(z) // it is valid until the next call
				want := append(lastLogits(t, m, ids[:2+i]), lastLogits(t, m, ids[3:7+i])...)
				within(t, "logits", z, want, 1e-5)
				z, err = cache.Step([]int{2, 0}, []int32{ids[2+i], ids[7+i]})
				must(t, err)
			}
		})
	}
}

// TestGemma4Memory: see takesPlannedMemory.
func TestGemma4Memory(t *testing.T) {
	for _, name := range gemma4Shapes {
		takesPlannedMemory(t, gemma4Folder, name, 1, 1, 3, 6, 1)
	}
}

// evened copies a folder with flatter attention. Scores are not scaled in this family, so that
// with random heads the rounding of scores to bf16 would dominate the comparison.
func evened(t *testing.T, dir string) string {
	t.Helper()
	out := t.TempDir()
	w, err := checkpoint.OpenFile(filepath.Join(dir, storage.ModelFile))
	must(t, err)
	defer w.Close()
	var tensors []checkpoint.Tensor
	for _, n := range w.Names() {
		shape, _ := w.Shape(n)
		x := floats(t, w, n)
		if strings.HasSuffix(n, "q_norm.weight") {
			for i := range x {
				x[i] /= 8
			}
		}
		tensors = append(tensors, checkpoint.Tensor{Name: n, Shape: shape, F32: x})
	}
	must(t, checkpoint.WriteSafetensors(filepath.Join(out, storage.ModelFile), nil, tensors))
	config, err := os.ReadFile(filepath.Join(dir, storage.ConfigFile))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(out, storage.ConfigFile), config, 0o600))
	return out
}

// TestGemma4InBF16: losses and gradients with matrices in bf16 equal the host's within
// bf16's rounding, with both kinds of kernels.
func TestGemma4InBF16(t *testing.T) {
	ids, _, _ := plainRecords(t, gemma4Folder)
	for _, name := range []string{"equal", "own-inputs"} {
		dir := evened(t, filepath.Join(gemma4Folder, name))
		host, b := load(t, dir, Options{}), packedRows(ids, len(ids)) // a single long row: rows whose norms divide by small numbers would amplify rounding errors
		o, lora := Objective{Weight: sampleWeights(b)}, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}}
		adapt(t, host, lora)
		want := passOn(t, host, b, o)
		for _, capability := range []int{80, 90} {
			m, err := Load(sim.New(sim.Options{Capability: capability}), dir, Options{BF16: true})
			must(t, err)
			if !m.BF16() {
				t.Error("no matrix is bf16")
			}
			adapt(t, m, lora)
			got := passOn(t, m, b, o)
			if e := distance(got.losses, want.losses); e > 2e-2 {
				t.Errorf("%s on %d: losses are off by %.1e of their length", name, capability, e)
			}
			for p, g := range want.gradients {
				if e := distance(got.gradients[p], g); e > 0.2 {
					t.Errorf("%s on %d: gradient of %s is off by %.1e of its length", name, capability, p, e)
				}
			}
			m.Close()
		}
	}
}

// TestGemma4CheckpointLayers: recomputed layers, which excludes those whose keys others
// read, have the same bits as stored ones.
func TestGemma4CheckpointLayers(t *testing.T) {
	ids, _, _ := plainRecords(t, gemma4Folder)
	for _, name := range gemma4Shapes {
		t.Run(name, func(t *testing.T) {
			m, b := load(t, filepath.Join(gemma4Folder, name), Options{}), packedRows(ids, 3, 9)
			o := Objective{Weight: sampleWeights(b), Train: true, DropoutSeed: 7, NEFTune: 5}
			must(t, m.TrainAll())
			same(t, m, b, o)
			adapt(t, m, LoRA{Rank: 2, Alpha: 3, Dropout: 0.2, Targets: []string{"all"}})
			same(t, m, b, o)
		})
	}
}

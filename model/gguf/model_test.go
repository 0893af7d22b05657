package gguf_test

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// Files of the gguf package of PyPI (0.19) whose q and k rows were permuted by the formula
// of convert_hf_to_gguf.py, against the numbers before they were: the first three of every
// tensor, and the sum of each number times its place.
func TestTensors(t *testing.T) {
	text, err := os.ReadFile("testdata/tensors.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded map[string]map[string]struct {
		Shape    []int
		Type     string
		First    []float32
		Weighted float64
	}
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		w, err := checkpoint.OpenWeights("testdata/" + arch + ".gguf")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if n := len(recorded[arch]); n < 11 || len(w.Names()) != n {
			t.Errorf("%s has the tensors %v, want %d", arch, w.Names(), n)
		}
		for name, want := range recorded[arch] {
			shape, _ := w.Shape(name)
			if !slices.Equal(shape, want.Shape) || w.DType(name) != want.Type {
				t.Errorf("%s %s is %s %v, want %s %v", arch, name, w.DType(name), shape, want.Type, want.Shape)
				continue
			}
			n := 1
			for _, d := range shape {
				n *= d
			}
			x := make([]float32, n)
			if err := w.ReadFloat32(name, x); err != nil {
				t.Error(err)
				continue
			}
			if got := weighted(x); !slices.Equal(x[:3], want.First) || math.Abs(got-want.Weighted) > 1e-9*math.Abs(want.Weighted) {
				t.Errorf("%s %s begins %v with the sum %v, want %v and %v", arch, name, x[:3], got, want.First, want.Weighted)
			}
			if want.Type != "BF16" {
				continue
			}
			halves := make([]driver.BF16, n)
			if err := w.ReadBF16(name, halves); err != nil {
				t.Error(err)
			}
			for i, h := range halves {
				if math.Float32frombits(uint32(h)<<16) != x[i] {
					t.Errorf("%s %s: number %d is another one in bf16", arch, name, i)
					break
				}
			}
		}
	}
}

func weighted(x []float32) (sum float64) {
	for i, v := range x {
		sum += float64(v) * float64(i+1)
	}
	return sum
}

func TestConfig(t *testing.T) {
	llama, err := checkpoint.ReadModelConfig("testdata/llama.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if c := llama; c.ModelType != "llama" || c.HiddenSize != 32 || c.IntermediateSize != 32 || c.NumHiddenLayers != 1 || c.NumAttentionHeads != 2 ||
		c.NumKeyValueHeads != 1 || c.HeadDim != 16 || c.VocabSize != 12 || c.MaxPositionEmbeddings != 64 || c.RMSNormEps != 1e-5 ||
		c.RopeTheta != 500000 || !c.TieWordEmbeddings || c.QKVBias || c.BOSTokenID != 1 || !slices.Equal(c.EOSTokenIDs, []int{0}) || c.PadTokenID != 0 {
		t.Errorf("%+v", c)
	}
	want := &checkpoint.RopeScaling{Type: "llama3", Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 8192}
	if !reflect.DeepEqual(llama.RopeScaling, want) {
		t.Errorf("rope_scaling %+v, want %+v", llama.RopeScaling, want)
	}
	qwen, err := checkpoint.ReadModelConfig("testdata/qwen2.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if c := qwen; c.ModelType != "qwen2" || c.TieWordEmbeddings || !c.QKVBias || c.OutputBias || c.HeadDim != 16 || c.RopeScaling != nil || c.Window(0) != 0 {
		t.Errorf("%+v", c)
	}
	qwen3, err := checkpoint.ReadModelConfig("testdata/qwen3.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if c := qwen3; c.ModelType != "qwen3" || c.HeadDim != 16 || c.QKVBias || c.TieWordEmbeddings || c.Window(0) != 0 {
		t.Errorf("%+v", c)
	}
	g, err := checkpoint.ReadGenerationConfig("testdata/llama.gguf")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(g.Encode()); got != "{\n  \"_from_model_config\": true,\n  \"bos_token_id\": 1,\n  \"eos_token_id\": 0,\n  \"pad_token_id\": 0\n}\n" {
		t.Error(got)
	}
}

// The decoder finds every tensor that it needs, and there are no others.
func TestLoad(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		m, err := decoder.Load(dev, "testdata/"+arch+".gguf", decoder.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		m.Close()
	}
}

// Any input is an error or gives a model whose tensors can be read.
func FuzzModel(f *testing.F) {
	for _, arch := range []string{"llama", "qwen2", "qwen3"} {
		whole, err := os.ReadFile("testdata/" + arch + ".gguf")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(whole)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x.gguf")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := checkpoint.ReadModelConfig(path); err != nil {
			return
		}
		w, err := checkpoint.OpenWeights(path)
		if err != nil {
			return
		}
		defer w.Close()
		for _, name := range w.Names() {
			shape, _ := w.Shape(name)
			n := 1
			for _, d := range shape {
				n *= d
			}
			if err := w.ReadFloat32(name, make([]float32, n)); err != nil {
				t.Error(err)
			}
		}
	})
}

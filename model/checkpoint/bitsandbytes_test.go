package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/kernels/quant"
)

// saved was written by transformers and bitsandbytes: a llama of one layer.
const saved = "../decoder/testdata/quantised/"

// TestFoldCodes: the parts of a matrix become one tensor of its shape and format, which
// reads as the decoded numbers; the other tensors are unchanged.
func TestFoldCodes(t *testing.T) {
	plain, err := OpenWeights(saved + "plain")
	ok(t, err)
	defer plain.Close()
	for dir, want := range map[string]quant.Format{
		"nf4": {Kind: quant.NF4, Block: 64, Double: true}, "fp4": {Kind: quant.FP4, Block: 64}, "int8": {Kind: quant.Int8},
	} {
		w, err := OpenWeights(saved + dir)
		ok(t, err)
		defer w.Close()
		if !slices.Equal(w.Names(), plain.Names()) {
			t.Errorf("%s: tensors %v", dir, w.Names())
		}
		for _, name := range w.Names() {
			shape, _ := w.Shape(name)
			of, _ := plain.Shape(name)
			f, coded := w.Coded(name)
			linear := strings.HasSuffix(name, "_proj.weight")
			if !slices.Equal(shape, of) || coded != linear || linear && f != want {
				t.Errorf("%s: %s is %v %v %v", dir, name, shape, f, coded)
			}
			if !linear {
				continue
			}
			n := shape[0] * shape[1]
			got, near := make([]float32, n), make([]float32, n)
			ok(t, w.ReadFloat32(name, got))
			ok(t, plain.ReadFloat32(name, near))
			p, err := w.ReadCodes(name)
			ok(t, err)
			if !slices.Equal(got, p.Decoded(f, shape[0], shape[1])) {
				t.Errorf("%s: %s reads as other numbers than its codes'", dir, name)
			}
			var off, all float64
			for i := range got {
				off, all = off+float64((got[i]-near[i])*(got[i]-near[i])), all+float64(near[i]*near[i])
			}
			if off > 0.04*all { // of 4 bits: a tenth of the standard deviation, for FP4 more
				t.Errorf("%s: %s is off by %.3f of its square", dir, name, off/all)
			}
		}
	}
}

// TestBrokenCodes: a fault of a quantised folder is one error that names the file and the
// tensor.
func TestBrokenCodes(t *testing.T) {
	const q = "model.layers.0.self_attn.q_proj.weight"
	for name, c := range map[string]struct {
		dir    string
		breaks func(header map[string]any, data []byte)
		want   string
	}{
		"no absmax": {"nf4", func(h map[string]any, _ []byte) { rename(h, q+".absmax", q+".other") }, `tensor "` + q + `" in bitsandbytes' 4 bits: ` + q + ".absmax is missing"},
		"shape": {"nf4", func(h map[string]any, d []byte) {
			edit(h, d, q+".quant_state.bitsandbytes__nf4", "[24, 24]", "[24, 25]")
		}, "288 bytes of codes, its shape [24 25] has 300"},
		"blocks": {"nf4", func(h map[string]any, d []byte) {
			edit(h, d, q+".quant_state.bitsandbytes__nf4", `"blocksize": 64`, `"blocksize": 48`)
		}, "blocks of 48 elements"},
		"no JSON":   {"nf4", func(h map[string]any, d []byte) { edit(h, d, q+".quant_state.bitsandbytes__nf4", `{`, `!`) }, "is no JSON"},
		"type":      {"nf4", func(h map[string]any, d []byte) { edit(h, d, q+".quant_state.bitsandbytes__nf4", `"nf4"`, `"af4"`) }, `quant_type "af4"`},
		"no scales": {"int8", func(h map[string]any, _ []byte) { rename(h, "model.layers.0.self_attn.q_proj.SCB", "x") }, `tensor "` + q + `" is I8`},
	} {
		raw, err := storage.ReadInput(saved+c.dir+"/model.safetensors", 1<<20)
		ok(t, err)
		n := binary.LittleEndian.Uint64(raw)
		header := map[string]any{}
		ok(t, json.Unmarshal(raw[8:8+n], &header))
		data := slices.Clone(raw[8+n:])
		c.breaks(header, data)
		text, err := json.Marshal(header)
		ok(t, err)
		dir := t.TempDir()
		write(t, filepath.Join(dir, storage.ModelFile), file(string(text), data))
		_, err = OpenWeights(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), filepath.Join(dir, storage.ModelFile)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func rename(h map[string]any, from, to string) {
	h[to] = h[from]
	delete(h, from)
}

// edit replaces text in a tensor by text of the same length.
func edit(h map[string]any, data []byte, name, from, to string) {
	at := h[name].(map[string]any)["data_offsets"].([]any)
	part := data[int(at[0].(float64)):int(at[1].(float64))]
	copy(part, bytes.Replace(part, []byte(from), []byte(to), 1))
}

package checkpoint

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// rawTensor is a tensor of bytes.
type rawTensor struct {
	name  string
	shape []int
	bytes []byte
}

// rawFile writes a safetensors file of U8 tensors.
func rawFile(t *testing.T, tensors ...rawTensor) (dir string) {
	t.Helper()
	type entryJSON struct {
		DType   string `json:"dtype"`
		Shape   []int  `json:"shape"`
		Offsets [2]int `json:"data_offsets"`
	}
	header, data := map[string]entryJSON{}, []byte{}
	for _, x := range tensors {
		header[x.name] = entryJSON{"U8", x.shape, [2]int{len(data), len(data) + len(x.bytes)}}
		data = append(data, x.bytes...)
	}
	text, err := json.Marshal(header)
	ok(t, err)
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	dir = t.TempDir()
	write(t, filepath.Join(dir, storage.ModelFile), append(append(file, text...), data...))
	return dir
}

// TestMXFP4: random blocks, with scales from the smallest to the largest, are decoded to the
// numbers of transformers 5.24's _convert_moe_packed_tensors (tools/golden/moe_families.py).
func TestMXFP4(t *testing.T) {
	text, err := os.ReadFile("testdata/mxfp4.json")
	ok(t, err)
	var g struct {
		Shape          []int // of the blocks
		Blocks, Scales []byte
		Bits           []uint16 // of the bf16 numbers
	}
	ok(t, json.Unmarshal(text, &g))
	w, err := OpenWeights(rawFile(t, rawTensor{"x.w_blocks", g.Shape, g.Blocks}, rawTensor{"x.w_scales", g.Shape[:3], g.Scales}, rawTensor{"x.other", []int{1}, []byte{7}}))
	ok(t, err)
	defer w.Close()
	if !slices.Equal(w.Names(), []string{"x.other", "x.w"}) || w.DType("x.w") != "MXFP4" {
		t.Fatalf("%v, %s", w.Names(), w.DType("x.w"))
	}
	if shape, _ := w.Shape("x.w"); !slices.Equal(shape, []int{g.Shape[0], 32 * g.Shape[2], g.Shape[1]}) {
		t.Errorf("shape %v of blocks %v", shape, g.Shape)
	}
	got := make([]float32, len(g.Bits))
	ok(t, w.ReadFloat32("x.w", got))
	for i, b := range g.Bits {
		if math.Float32bits(got[i]) != uint32(b)<<16 {
			t.Fatalf("number %d is %v, want %v", i, got[i], math.Float32frombits(uint32(b)<<16))
		}
	}
}

// TestMXFP4Errors: the error for blocks without scales names them.
func TestMXFP4Errors(t *testing.T) {
	for _, c := range [][]rawTensor{
		{{"w_blocks", []int{1, 1, 1, 16}, make([]byte, 16)}},
		{{"w_blocks", []int{1, 1, 1, 16}, make([]byte, 16)}, {"w_scales", []int{1, 1, 2}, make([]byte, 2)}},
		{{"w_blocks", []int{1, 1, 2, 8}, make([]byte, 16)}, {"w_scales", []int{1, 1, 2}, make([]byte, 2)}},
	} {
		if _, err := OpenWeights(rawFile(t, c...)); err == nil || !strings.Contains(err.Error(), `tensor "w_blocks"`) || !strings.Contains(err.Error(), "w_scales") {
			t.Errorf("got %v", err)
		}
	}
}

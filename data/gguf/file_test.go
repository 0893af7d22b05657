package gguf

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// header writes a GGUF file's parts.
type header struct{ b []byte }

func (h *header) u32(v uint32) *header { h.b = binary.LittleEndian.AppendUint32(h.b, v); return h }
func (h *header) u64(v uint64) *header { h.b = binary.LittleEndian.AppendUint64(h.b, v); return h }
func (h *header) text(s string) *header {
	h.u64(uint64(len(s)))
	h.b = append(h.b, s...)
	return h
}

// begin is the start of a file that announces tensors and values.
func begin(tensors, values uint64) *header {
	h := &header{b: []byte("GGUF")}
	return h.u32(3).u64(tensors).u64(values)
}

func (h *header) tensor(name string, kind uint32, offset uint64, dims ...uint64) *header {
	h.text(name).u32(uint32(len(dims)))
	for _, d := range dims {
		h.u64(d)
	}
	return h.u32(kind).u64(offset)
}

// data pads the header and adds n bytes.
func (h *header) data(n int) []byte {
	return append(h.b, make([]byte, (32-len(h.b)%32)%32+n)...)
}

func open(t *testing.T, b []byte) (*File, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return Open(path)
}

// Files that crashed other readers (CVE-2024-21802, CVE-2025-53630, CVE-2026-27940,
// CVE-2026-33298, ggml #19856) each give one error.
func TestHostile(t *testing.T) {
	const huge = 1 << 62
	for name, c := range map[string]struct {
		file []byte
		want string
	}{
		"empty":             {nil, "does not begin with GGUF"},
		"magic":             {[]byte("GGML\x03\x00\x00\x00"), "does not begin with GGUF"},
		"lfs":               {[]byte("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"},
		"version 1":         {(&header{b: []byte("GGUF")}).u32(1).b, "version 1"},
		"version 9":         {(&header{b: []byte("GGUF")}).u32(9).b, "version 9"},
		"big-endian":        {(&header{b: []byte("GGUF")}).u32(3 << 24).b, "big-endian"},
		"cut":               {begin(0, 1).text("a").b[:30], "damaged"},
		"tensors":           {begin(huge, 0).b, "tensors, more than it has room for"},
		"values":            {begin(0, huge).b, "values, more than it has room for"},
		"key":               {begin(0, 1).u64(huge).u64(0).b, "a text of"},
		"text":              {begin(0, 1).text("k").u32(8).u64(1 << 20).b, "the download is incomplete"},
		"no UTF-8":          {begin(0, 1).text("k").u32(8).text("\xff").b, "not UTF-8"},
		"list":              {begin(0, 1).text("k").u32(9).u32(8).u64(huge).b, "texts of k"},
		"numbers":           {begin(0, 1).text("k").u32(9).u32(4).u64(huge).b, "numbers of k"},
		"nested":            {begin(0, 1).text("k").u32(9).u32(9).u64(1).b, "kind 9"},
		"kind":              {begin(0, 1).text("k").u32(77).u64(0).b, "kind 77"},
		"bool":              {append(begin(0, 1).text("k").u32(7).b, 2), "true or false"},
		"uint64":            {begin(0, 1).text("k").u32(10).u64(math.MaxUint64).b, "too large"},
		"twice":             {begin(0, 2).text("k").u32(4).u32(1).text("k").u32(4).u32(1).b, `the key "k" twice`},
		"alignment":         {begin(0, 1).text("general.alignment").u32(4).u32(24).b, "power of two"},
		"alignment 0":       {begin(0, 1).text("general.alignment").u32(4).u32(0).b, "power of two"},
		"tensor twice":      {begin(2, 0).tensor("a", 0, 0, 8).tensor("a", 0, 32, 8).data(64), `the tensor "a" twice`},
		"no dimensions":     {begin(1, 0).tensor("a", 0, 0).data(32), "0 dimensions"},
		"dimensions":        {begin(1, 0).tensor("a", 0, 0, 1, 1, 1, 1, 1).data(32), "5 dimensions"},
		"dimension of zero": {begin(1, 0).tensor("a", 0, 0, 0).data(32), "a dimension of 0"},
		"product":           {begin(1, 0).tensor("a", 0, 0, 1<<40, 1<<40, 1<<40).data(32), "overflows"},
		"product of 2^64":   {begin(1, 0).tensor("a", 0, 0, 1<<32, 1<<32).data(32), "overflows"},
		"block":             {begin(1, 0).tensor("a", 12, 0, 255).data(256), "blocks of 256"},
		"unread type":       {begin(1, 0).tensor("a", 23, 0, 256).data(256), `tensor "a" is IQ4_XS`},
		"negative type":     {begin(1, 0).tensor("a", math.MaxUint32, 0, 256).data(256), "is of type 4294967295"},
		"offset":            {begin(1, 0).tensor("a", 0, 8, 8).data(64), "not a multiple of the alignment"},
		"beyond the end":    {begin(1, 0).tensor("a", 0, 0, 9).data(32), "needs 36 bytes"},
		"offset overflows":  {begin(1, 0).tensor("a", 0, math.MaxUint64-31, 8).data(32), "needs 32 bytes"},
		"no data":           {begin(1, 0).tensor("a", 0, 0, 8).b, "download is incomplete"},
		"overlap":           {begin(2, 0).tensor("a", 0, 0, 16).tensor("b", 0, 32, 8).data(96), `"a" and "b" overlap`},
	} {
		f, err := open(t, c.file)
		if err == nil {
			f.Close()
			t.Errorf("%s: no error", name)
		} else if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "x.gguf: ") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A file written by the gguf package of PyPI.
func TestOpen(t *testing.T) {
	f, err := Open("../../model/gguf/testdata/llama.gguf")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if eps, ok, err := Get[float64](f, "llama.attention.layer_norm_rms_epsilon"); eps != 1e-5 || !ok || err != nil {
		t.Error(eps, ok, err)
	}
	if tokens, _, err := Get[[]string](f, "tokenizer.ggml.tokens"); err != nil || len(tokens) != 12 || tokens[7] != "Ġ" {
		t.Error(tokens, err)
	}
	if _, _, err := Get[string](f, "llama.block_count"); err == nil || !strings.Contains(err.Error(), "llama.block_count is a int") {
		t.Error(err)
	}
	q := f.Tensors[0]
	if q.Name != "token_embd.weight" || q.Type != Q8_0 || q.Shape[0] != 12 || q.Shape[1] != 32 || q.End-q.Begin != 12*34 {
		t.Errorf("%+v", q)
	}
}

// Any input is an error, or gives tensors that lie inside it.
func FuzzParse(f *testing.F) {
	whole, err := os.ReadFile("../../model/gguf/testdata/llama.gguf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(begin(1, 1).text("general.alignment").u32(4).u32(32).tensor("a", 12, 0, 256, 2).data(288))
	f.Add(begin(0, 1).text("k").u32(9).u32(8).u64(2).text("a").text("b").b)
	f.Fuzz(func(t *testing.T, b []byte) {
		file := &File{Path: "fuzz"}
		if file.parse(b) != nil {
			return
		}
		for _, x := range file.Tensors {
			_ = file.Data[x.Begin:x.End]
		}
	})
}

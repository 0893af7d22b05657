package checkpoint

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver"
)

// file is a header of that text followed by data.
func file(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func onDisk(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), storage.ModelFile)
	write(t, path, b)
	return path
}

// Each rule of the format, broken once. The first seven are safetensors' own test cases
// (safetensors/src/tensor.rs), recreated here.
func TestBadFiles(t *testing.T) {
	overlap := `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`
	hole := `{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`
	cases := []struct {
		name, want string
		file       []byte
	}{
		{"json attack", "hole or overlap", file(overlap, make([]byte, 4))},
		{"header too large", "the format allows", append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 76)...)},
		{"header too small", "has 0 bytes", nil},
		{"not json", "does not start with '{'", file("\xff", nil)},
		{"invalid info", "needs 4294967296 bytes", file(`{"test":{"dtype":"I32","shape":[32768,32768],"data_offsets":[0,16]}}`, make([]byte, 16))},
		{"incomplete buffer", "the download is incomplete", file(`{"test":{"dtype":"I32","shape":[2,2],"data_offsets":[0,16]}}`, make([]byte, 12))},
		{"validation overflow", "overflows", file(`{"test":{"dtype":"I32","shape":[2,9223372036854775807],"data_offsets":[0,16]}}`, make([]byte, 16))},

		{"header beyond the file", "file has 10 bytes, header says 1008: the download is incomplete", append([]byte{0xe8, 3, 0, 0, 0, 0, 0, 0}, "{}"...)},
		{"empty header", "does not start with '{'", file("", nil)},
		{"array", "does not start with '{'", file("[]", nil)},
		{"not utf-8", "not UTF-8", file("{\"\xff\":1}", nil)},
		{"cut JSON", "not valid JSON", file(`{"a":{"dtype":"F32"`, nil)},
		{"two objects", "has text after", file(`{}{}`, nil)},
		{"duplicate tensor", `the key "a" twice`, file(strings.Replace(overlap, `"b"`, `"a"`, 1), make([]byte, 4))},
		{"duplicate field", `the key "dtype" twice`, file(`{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 4))},
		{"duplicate metadata", `the key "k" twice`, file(`{"__metadata__":{"k":"1","k":"2"}}`, nil)},
		{"metadata number", "want a string", file(`{"__metadata__":{"k":1}}`, nil)},
		{"metadata list", "want an object", file(`{"__metadata__":[]}`, nil)},
		{"hole", `"b": data_offsets [8, 12] leave a hole`, file(hole, make([]byte, 12))},
		{"backwards", "hole or overlap", file(`{"a":{"dtype":"F32","shape":[0],"data_offsets":[4,0]}}`, make([]byte, 4))},
		{"trailing bytes", "3 bytes at the end belong to no tensor", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 7))},
		{"unknown dtype", "not one of safetensors'", file(`{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 4))},
		{"negative shape", "want integers", file(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, make([]byte, 4))},
		{"fraction", "want integers", file(`{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}`, make([]byte, 4))},
		{"shape beyond int", "too large", file(`{"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}}`, make([]byte, 4))},
		{"offset beyond uint64", "want integers", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}}`, make([]byte, 4))},
		{"offset at 2^64", "needs 4 bytes", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]}}`, make([]byte, 4))},
		{"three offsets", "has 3 numbers", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}}`, make([]byte, 4))},
		{"no shape", "no shape", file(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, make([]byte, 4))},
		{"nested shape", "want integers", file(`{"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}}`, make([]byte, 4))},
		{"unknown field", `unknown key "x"`, file(`{"a":{"x":1}}`, nil)},
		{"half a byte", "not a whole number of bytes", file(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}`, make([]byte, 1))},
		{"git lfs pointer", "git lfs pull", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")},
	}
	for _, c := range cases {
		path := onDisk(t, c.file)
		w, err := OpenFile(path)
		if err == nil {
			w.Close()
			t.Errorf("%s: accepted", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %q lacks %q or the path", c.name, err, c.want)
		}
	}
}

// The project's collection of foreign files, where it exists.
func TestSharedFiles(t *testing.T) {
	dir := goldenPath(t, "..", "data", "safetensors")
	text, err := os.ReadFile(filepath.Join(dir, "MANIFEST.json"))
	ok(t, err)
	var cases []struct {
		File        string
		ExpectError string `json:"expect_error"`
		WriterExact bool   `json:"writer_exact"`
		Expect      map[string]struct {
			DType   string
			Shape   []int
			DataHex string `json:"data_hex"`
		}
	}
	ok(t, json.Unmarshal(text, &cases))
	for _, c := range cases {
		w, err := OpenFile(filepath.Join(dir, c.File))
		if (err != nil) != (c.ExpectError != "") {
			t.Errorf("%s: error %v, want %q", c.File, err, c.ExpectError)
		}
		if err != nil {
			continue
		}
		var blocks []block
		for name, want := range c.Expect {
			data, err := hex.DecodeString(want.DataHex)
			ok(t, err)
			loc := w.tensors[name]
			shape, _ := w.Shape(name)
			if w.DType(name) != want.DType || !slices.Equal(shape, want.Shape) || string(loc.file.data[loc.entry.begin:loc.entry.end]) != string(data) {
				t.Errorf("%s: %s is %s %v", c.File, name, w.DType(name), shape)
			}
			blocks = append(blocks, block{name, want.DType, want.Shape, uint64(len(data)), func(w io.Writer) error { _, err := w.Write(data); return err }})
		}
		if len(w.Names()) != len(c.Expect) {
			t.Errorf("%s: tensors %v", c.File, w.Names())
		}
		if c.WriterExact {
			header, err := layOut(w.Metadata(), blocks)
			ok(t, err)
			var b strings.Builder
			ok(t, writeBlocks(&b, header, blocks))
			if b.String() != string(w.files[0].bytes) {
				t.Errorf("%s: written differently:\n%q", c.File, b.String())
			}
		}
		ok(t, w.Close())
	}
}

// Values of every supported dtype; the bit patterns are IEEE 754's.
func TestReadFloat32(t *testing.T) {
	inf := float32(math.Inf(1))
	u16 := func(v ...uint16) (b []byte) {
		for _, x := range v {
			b = binary.LittleEndian.AppendUint16(b, x)
		}
		return b
	}
	cases := []struct {
		dtype string
		data  []byte
		want  []float32
	}{
		{"F32", []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}, []float32{1, -2}},
		{"BF16", u16(0x3f80, 0xc000, 0x7f80, 0x0001), []float32{1, -2, inf, 0x1p-133}},
		{
			"F16", u16(0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x7c00, 0xfc00, 0x8000),
			[]float32{1, -2, 65504, 0x1p-14, 0x1p-24, -1023 * 0x1p-24, inf, -inf, float32(math.Copysign(0, -1))},
		},
		{"F64", []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}, []float32{1}},
		{"BOOL", []byte{0, 1}, []float32{0, 1}},
		{"U8", []byte{200}, []float32{200}},
		{"I8", []byte{200}, []float32{-56}},
		{"I16", u16(0xffff), []float32{-1}},
		{"U16", u16(0xffff), []float32{65535}},
		{"I32", []byte{0xfe, 0xff, 0xff, 0xff}, []float32{-2}},
		{"U32", []byte{0, 0, 0, 0x80}, []float32{0x1p31}},
		{"I64", []byte{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []float32{-3}},
		{"U64", []byte{0, 0, 0, 0, 0, 0, 0, 0x80}, []float32{0x1p63}},
	}
	for _, c := range cases {
		w, err := OpenFile(onDisk(t, file(fmt.Sprintf(`{"x":{"dtype":%q,"shape":[%d],"data_offsets":[0,%d]}}`, c.dtype, len(c.want), len(c.data)), c.data)))
		ok(t, err)
		got := make([]float32, len(c.want))
		ok(t, w.ReadFloat32("x", got))
		for i := range got {
			if math.Float32bits(got[i]) != math.Float32bits(c.want[i]) {
				t.Errorf("%s[%d] = %v, want %v", c.dtype, i, got[i], c.want[i])
			}
		}
		ok(t, w.Close())
	}
}

// TestReadBF16: bf16 tensors are copied bit for bit, NaN included; others are refused.
func TestReadBF16(t *testing.T) {
	data := []byte{0x80, 0x3f, 0x01, 0x00, 0xc1, 0xff, 0, 0, 0x80, 0x3f}
	w, err := OpenFile(onDisk(t, file(`{"x":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]},"y":{"dtype":"F32","shape":[1],"data_offsets":[6,10]}}`, data)))
	ok(t, err)
	defer w.Close()
	got := make([]driver.BF16, 3)
	ok(t, w.ReadBF16("x", got))
	if want := []driver.BF16{0x3f80, 0x0001, 0xffc1}; !slices.Equal(got, want) {
		t.Errorf("%#x, want %#x", got, want)
	}
	for name, want := range map[string]string{"x": "3 elements), want 2", "z": "no tensor"} {
		if err := w.ReadBF16(name, got[:2]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if err := w.ReadBF16("y", got[:1]); err == nil || !strings.Contains(err.Error(), "is F32, not BF16") {
		t.Error(err)
	}
}

func TestReadErrors(t *testing.T) {
	path := onDisk(t, file(`{"model.a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"odd":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[24,25]}}`, make([]byte, 25)))
	w, err := OpenFile(path)
	ok(t, err)
	defer w.Close()
	for _, c := range []struct {
		name string
		n    int
		want string
	}{
		{"model.a.weight", 5, `tensor "model.a.weight" has shape [2 3] (6 elements), want 5`},
		{"base.model.a.weight", 6, `no tensor "base.model.a.weight" (it has 2 tensors, for example "model.a.weight")`},
		{"odd", 1, "is F8_E4M3, which is not read"},
	} {
		err := w.ReadFloat32(c.name, make([]float32, c.n))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// A file that is truncated while it is mapped causes an error, not a crash.
func TestTruncatedWhileOpen(t *testing.T) {
	const n = 1 << 20
	path := filepath.Join(t.TempDir(), "x.safetensors")
	ok(t, WriteSafetensors(path, nil, []Tensor{{Name: "x", Shape: []int{n}, F32: make([]float32, n)}}))
	w, err := OpenFile(path)
	ok(t, err)
	defer w.Close()
	ok(t, os.Truncate(path, 4096))
	if err := w.ReadFloat32("x", make([]float32, n)); err == nil || !strings.Contains(err.Error(), "truncated, or its disk failed") {
		t.Errorf("got %v", err)
	}
}

// shards writes a two-shard model and returns its folder.
func shards(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"a", "b"} {
		ok(t, WriteSafetensors(filepath.Join(dir, fmt.Sprintf("model-%d.safetensors", i)), nil,
			[]Tensor{{Name: name, Shape: []int{2}, F32: []float32{float32(i), 7}}}))
	}
	write(t, filepath.Join(dir, storage.ModelIndexFile), []byte(`{"metadata":{},"weight_map":{"a":"model-0.safetensors","b":"model-1.safetensors"}}`))
	return dir
}

func TestShards(t *testing.T) {
	dir := shards(t)
	w, err := OpenWeights(dir)
	ok(t, err)
	got := make([]float32, 2)
	ok(t, w.ReadFloat32("b", got))
	if !slices.Equal(w.Names(), []string{"a", "b"}) || got[0] != 1 || filepath.Base(w.Path("b")) != "model-1.safetensors" {
		t.Errorf("names %v, b = %v in %s", w.Names(), got, w.Path("b"))
	}
	if err := w.ReadFloat32("c", got); err == nil || !strings.Contains(err.Error(), dir+":") {
		t.Errorf("got %v", err)
	}
	ok(t, w.Close())
}

func TestFolderErrors(t *testing.T) {
	make := func(files map[string]string) string {
		dir := t.TempDir()
		for name, text := range files {
			write(t, filepath.Join(dir, name), []byte(text))
		}
		return dir
	}
	incomplete, lacking := shards(t), shards(t)
	ok(t, os.Remove(filepath.Join(incomplete, "model-1.safetensors")))
	write(t, filepath.Join(lacking, storage.ModelIndexFile), []byte(`{"weight_map":{"a":"model-0.safetensors","c":"model-1.safetensors"}}`))
	cases := []struct{ name, dir, want string }{
		{"hub name", "meta-llama/Llama-3.1-8B", "dataflex-cli download meta-llama/Llama-3.1-8B"},
		{"pickled adapter", make(map[string]string{"adapter_model.bin": "PK"}), "convert once with"},
		{"empty", make(nil), "neither model.safetensors nor"},
		{"pickle", make(map[string]string{"pytorch_model.bin": "PK"}), "safe_serialization=True"},
		{"pickle shards", make(map[string]string{"pytorch_model.bin.index.json": "{}"}), "never read"},
		{"broken adapter", make(map[string]string{storage.AdapterFile: ""}), storage.AdapterFile + ": file has 0 bytes"},
		{"missing shard", incomplete, "lists 2 shards and this one is missing"},
		{"lacking tensor", lacking, `tensor "c" is listed in`},
		{"bad index", make(map[string]string{storage.ModelIndexFile: "["}), storage.ModelIndexFile + ": "},
		{"empty index", make(map[string]string{storage.ModelIndexFile: "{}"}), "weight_map is missing or empty"},
		{"path in index", make(map[string]string{storage.ModelIndexFile: `{"weight_map":{"a":"../x"}}`}), "want the name of a file in the same folder"},
	}
	for _, c := range cases {
		w, err := OpenWeights(c.dir)
		if err == nil {
			w.Close()
			t.Errorf("%s: accepted", c.name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q lacks %q", c.name, err, c.want)
		}
	}
	if _, err := OpenWeights(onDisk(t, nil)); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("file given: %v", err)
	}
	if _, err := OpenFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := OpenFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder as file: %v", err)
	}
}

// Whatever the bytes, the header is refused or describes the file exactly.
func FuzzHeader(f *testing.F) {
	f.Add(file(`{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, make([]byte, 4)))
	f.Add(file(`{"a":{"dtype":"BF16","shape":[0,3],"data_offsets":[0,0]},"b":{"dtype":"I64","shape":[],"data_offsets":[0,8]}}   `, make([]byte, 8)))
	f.Add(file(`{}`, nil))
	f.Add([]byte{2, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, _, start, err := parseHeader(b)
		if err != nil {
			return
		}
		at := start
		for _, e := range entries {
			n := uint64(1)
			for _, d := range e.shape {
				n *= uint64(d)
			}
			if start+e.begin != at || e.end < e.begin || n*bitsPerElement[e.dtype] != 8*(e.end-e.begin) {
				t.Fatalf("entry %+v at %d", e, at)
			}
			at = start + e.end
			if n <= uint64(len(b)) {
				toFloat32(e.dtype, b[start+e.begin:start+e.end], make([]float32, n))
			}
		}
		if at != uint64(len(b)) {
			t.Fatalf("header describes %d of %d bytes", at, len(b))
		}
	})
}

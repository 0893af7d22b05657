package npy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// entry is a file of testdata as NumPy 1.24 describes it.
type entry struct {
	File   string          `json:"file"`
	Descr  any             `json:"descr"`
	Shape  []int           `json:"shape"`
	Sum    string          `json:"c_order_little_endian_sha256"`
	Hex    []string        `json:"float64_hex"`
	Values json.RawMessage `json:"values"`
}

func manifest(t *testing.T) []entry {
	t.Helper()
	raw, err := os.ReadFile("testdata/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Files []entry }
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(m.Files, func(e entry) bool { return filepath.Ext(e.File) != ".npy" })
}

func TestReadsWhatNumPyWrote(t *testing.T) {
	for _, e := range manifest(t) {
		descr, plain := e.Descr.(string)
		a, err := Read(filepath.Join("testdata", e.File))
		if !plain || descr == "<c8" {
			if err == nil {
				t.Errorf("%s: read, though its elements are %v", e.File, e.Descr)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if string(a.DType) != descr[1:] || !slices.Equal(a.Shape, e.Shape) {
			t.Errorf("%s: %s %v, NumPy says %s %v", e.File, a.DType, a.Shape, descr, e.Shape)
		}
		sum := sha256.Sum256(a.Data)
		if hex.EncodeToString(sum[:]) != e.Sum {
			t.Errorf("%s: the elements differ", e.File)
		}
		checkFloats(t, e, a)
		checkValues(t, e, a)
	}
}

func checkFloats(t *testing.T, e entry, a *Array) {
	t.Helper()
	if e.Hex == nil {
		return
	}
	got := a.Float64s()
	for i, h := range e.Hex {
		want, err := strconv.ParseFloat(h, 64)
		if err != nil {
			t.Fatal(err)
		}
		if same := math.Float64bits(got[i]) == math.Float64bits(want) || (got[i] != got[i] && want != want); !same {
			t.Errorf("%s[%d] = %v, want %s", e.File, i, got[i], h)
		}
	}
}

func checkValues(t *testing.T, e entry, a *Array) {
	t.Helper()
	if e.Values == nil {
		return
	}
	got, err := a.Ints()
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("[", "", "]", "", "true", "1", "false", "0", "\n", "", " ", "").Replace(string(e.Values))
	for i, f := range strings.Split(text, ",") {
		if want, err := strconv.ParseInt(f, 10, 64); err != nil || int64(got[i]) != want {
			t.Errorf("%s[%d] = %d, want %s", e.File, i, got[i], f)
		}
	}
}

// Our files are NumPy's, byte for byte.
func TestWritesWhatNumPyWrites(t *testing.T) {
	for file, write := range map[string]func(*Array) []byte{
		"f4_2x3x4.npy":     func(a *Array) []byte { return Encode(a.Float32s(), a.Shape...) },
		"empty_0x4.npy":    func(a *Array) []byte { return Encode(a.Float32s(), a.Shape...) },
		"scalar_f4.npy":    func(a *Array) []byte { return Encode(a.Float32s(), a.Shape...) },
		"f8_special.npy":   func(a *Array) []byte { return Encode(a.Float64s(), a.Shape...) },
		"i8_extremes.npy":  func(a *Array) []byte { return Encode(int64s(a), a.Shape...) },
		"near_indices.npy": func(a *Array) []byte { return Encode(int64s(a), a.Shape...) },
	} {
		want, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		a, err := Decode(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := write(a); !bytes.Equal(got, want) {
			t.Errorf("%s: written again it is\n%q, not\n%q", file, got, want)
		}
	}
}

func int64s(a *Array) []int64 {
	ints, err := a.Ints()
	if err != nil {
		panic(err)
	}
	out := make([]int64, len(ints))
	for i, v := range ints {
		out[i] = int64(v)
	}
	return out
}

func TestFaults(t *testing.T) {
	head := func(s string) string {
		return "\x93NUMPY\x01\x00" + string([]byte{byte(len(s)), 0}) + s
	}
	for name, c := range map[string]struct{ file, want string }{
		"empty":     {"", "not a .npy file"},
		"magic":     {"PK\x03\x04 a zip of arrays", "not a .npy file"},
		"version":   {"\x93NUMPY\x09\x00\x00\x00", "version 9.0"},
		"cut head":  {"\x93NUMPY\x01\x00\xff\x00{", "ends early"},
		"cut data":  {head("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }") + "1234", "ends early"},
		"overflow":  {head("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776), }"), "too large"},
		"negative":  {head("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), `dimension "-1"`},
		"no shape":  {head("{'descr': '<f4', 'fortran_order': False}"), "no shape"},
		"no order":  {head("{'descr': '<f4', 'fortran_order': 3, 'shape': (2,)}"), "fortran_order"},
		"strings":   {head("{'descr': '<U4', 'fortran_order': False, 'shape': (2,)}"), `"<U4" is not read`},
		"structure": {head("{'descr': [('a', '<i4')], 'fortran_order': False, 'shape': (2,)}"), "structured"},
		"objects":   {head("{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"), "pickles"},
	} {
		if _, err := Decode([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v does not say %q", name, err, c.want)
		}
	}
	if _, err := Read("testdata/numpyrepo_py3-objarr.npy"); err == nil || !strings.Contains(err.Error(), "pickles") {
		t.Errorf("a pickle was not refused as one: %v", err)
	}
	floats := &Array{DType: Float32, Shape: []int{1}, Data: make([]byte, 4)}
	if _, err := floats.Ints(); err == nil {
		t.Error("floats were read as integers")
	}
	huge := &Array{DType: Uint64, Shape: []int{1}, Data: bytes.Repeat([]byte{255}, 8)}
	if _, err := huge.Ints(); err == nil {
		t.Error("2^64-1 was read as an int")
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/*.npy")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if a, err := Decode(raw); err == nil && len(a.Data) != a.Len()*a.DType.size() {
			t.Errorf("%s %v with %d bytes", a.DType, a.Shape, len(a.Data))
		}
	})
}

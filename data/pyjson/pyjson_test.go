package pyjson

import (
	"encoding/hex"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
)

// python is testdata/python.json: what Python 3 writes (tools/golden/report.py).
type python struct {
	Floats    [][2]string `json:"floats"`
	Strings   [][3]string `json:"strings"`
	Documents []struct {
		Indent        int
		Sorted, ASCII bool
		Text          string
	} `json:"documents"`
	Reprs [][2]string `json:"reprs"`
}

func readPython(t *testing.T) (p python) {
	t.Helper()
	raw, err := os.ReadFile("testdata/python.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

func fromBits(t *testing.T, s string) float64 {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != 8 {
		t.Fatalf("%q is no float's bits", s)
	}
	var bits uint64
	for _, b := range raw {
		bits = bits<<8 | uint64(b)
	}
	return math.Float64frombits(bits)
}

func TestFloatIsPythonsRepr(t *testing.T) {
	p := readPython(t)
	if len(p.Floats) < 100 {
		t.Fatalf("%d floats recorded", len(p.Floats))
	}
	for _, f := range p.Floats {
		x := fromBits(t, f[0])
		if got := Encode(x, 0); got != f[1] {
			t.Errorf("%s: %s, Python writes %s", f[0], got, f[1])
		}
		back, err := Decode([]byte(f[1]))
		if err != nil {
			t.Errorf("%s: %v", f[1], err)
			continue
		}
		y, ok := back.(float64)
		if same := math.Float64bits(y) == math.Float64bits(x) || math.IsNaN(x) && math.IsNaN(y); !ok || !same {
			t.Errorf("%s reads back as %v", f[1], back)
		}
	}
}

func TestStringsArePythons(t *testing.T) {
	for _, s := range readPython(t).Strings {
		if got := Encode(s[0], 0); got != s[1] {
			t.Errorf("%q: %s, Python writes %s", s[0], got, s[1])
		}
		if got := EncodeASCII(s[0], 0); got != s[2] {
			t.Errorf("%q: %s, Python writes %s", s[0], got, s[2])
		}
		for _, text := range s[1:] {
			if back, err := Decode([]byte(text)); err != nil || back != s[0] {
				t.Errorf("%s reads back as %v, %v", text, back, err)
			}
		}
	}
}

func TestDocumentsArePythons(t *testing.T) {
	for _, d := range readPython(t).Documents {
		v, err := Decode([]byte(d.Text))
		if err != nil {
			t.Errorf("%s: %v", d.Text, err)
			continue
		}
		encode := Encode
		if d.ASCII {
			encode = EncodeASCII
		}
		if d.Sorted {
			v = sorted(v)
		}
		if got := encode(v, d.Indent); got != d.Text {
			t.Errorf("got  %s\nwant %s", got, d.Text)
		}
	}
}

func TestReprsArePythons(t *testing.T) {
	for _, r := range readPython(t).Reprs {
		v, err := Decode([]byte(r[0]))
		if err != nil {
			t.Errorf("%s: %v", r[0], err)
			continue
		}
		if got := Repr(v); got != r[1] {
			t.Errorf("repr of %s: %s, Python's is %s", r[0], got, r[1])
		}
		if text, ok := v.(string); ok && Str(v) != text {
			t.Errorf("str of %s: %s", r[0], Str(v))
		}
	}
}

func TestTypedSlicesAndMaps(t *testing.T) {
	v := Object{
		{"m", map[string]any{"b": []string{"x"}, "a": []bool{true}}},
		{"n", map[string]int{"z": 1, "y": 2}},
		{"f", map[string]float64{"q": 1}},
		{"i", []int{1}},
		{"d", []float64{1}},
		{"o", []Object{{{"k", 1}}}},
	}
	const want = `{"m": {"a": [true], "b": ["x"]}, "n": {"y": 2, "z": 1}, "f": {"q": 1.0}, "i": [1], "d": [1.0], "o": [{"k": 1}]}`
	if got := Encode(v, 0); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if o := (Object{{"b", 1}, {"a", 2}}).Sorted(); o[0].Key != "a" || o.Get("b") != 1 || o.Get("c") != nil {
		t.Errorf("sorted: %v", o)
	}
}

func TestDecodeRefusesWhatIsNoJSON(t *testing.T) {
	for _, s := range []string{"", "{", `{"a"`, `{"a":`, `{"a": 1,}`, `{"a": 1`, "[1", "[1,]", "[1 2]", `"a`, `"a\`, `"\x"`, "01", "1.", "+1", "nan", "1 2", "{1: 2}", "tru", "-", strings.Repeat("[", 5000)} {
		if v, err := Decode([]byte(s)); err == nil {
			t.Errorf("%.20q was read as %v", s, v)
		}
	}
	for s, want := range map[string]any{" 7 ": 7, "-0": 0, "7.0": 7.0, "7e0": 7.0, "1e999": math.Inf(1), "99999999999999999999": Number("99999999999999999999")} {
		if v, err := Decode([]byte(s)); err != nil || v != want {
			t.Errorf("%s was read as %T %v, %v", s, v, v, err)
		}
	}
	if _, err := DecodeObject([]byte("[]")); err == nil {
		t.Error("a list was read as an object")
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2.5, NaN, null], "b": "\u00e9"}`, "[", `"\ud83d\ude00"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := Decode([]byte(s))
		if err != nil {
			return
		}
		text := Encode(v, 0)
		again, err := Decode([]byte(text))
		if err != nil {
			t.Fatalf("%q was read, its rewriting %q not: %v", s, text, err)
		}
		if got := Encode(again, 0); got != text {
			t.Fatalf("%q became %q", text, got)
		}
	})
}

package yamlfile

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// show writes a value as tools/golden/yaml_scalars.py does.
func show(v any) string {
	switch x := v.(type) {
	case nil:
		return "null"
	case bool:
		return map[bool]string{true: "bool True", false: "bool False"}[x]
	case int64:
		return "int " + strconv.FormatInt(x, 10)
	case *big.Int:
		return "int " + x.String()
	case float64:
		return "float " + pythonFloat(x)
	case string:
		return "str " + x
	case []any:
		var parts []string
		for _, e := range x {
			parts = append(parts, show(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var keys []string
		for k := range x {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for i, k := range keys {
			keys[i] = k + ": " + show(x[k])
		}
		return "{" + strings.Join(keys, ", ") + "}"
	}
	return fmt.Sprintf("%T", v)
}

func pythonFloat(x float64) string {
	switch a := math.Abs(x); {
	case math.IsNaN(x):
		return "nan"
	case math.IsInf(x, 0):
		return map[bool]string{true: "inf", false: "-inf"}[x > 0]
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	t := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(t, ".") {
		t += ".0"
	}
	return t
}

type omegaconf struct {
	Scalars  [][2]string
	Dotlists [][2]json.RawMessage
}

func reference(t *testing.T) omegaconf {
	t.Helper()
	raw, err := os.ReadFile("testdata/omegaconf.json")
	if err != nil {
		t.Fatal(err)
	}
	var o omegaconf
	if err := json.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestScalarsAsOmegaConf(t *testing.T) {
	o := reference(t)
	for _, c := range o.Scalars {
		got := "error"
		if v, err := Parse("t.yaml", []byte("k: "+c[0]+"\n")); err == nil {
			e, _ := v.Get("k")
			got = show(e.Value.Any())
		}
		if got != c[1] {
			t.Errorf("k: %s gave %q, want %q", c[0], got, c[1])
		}
	}
	t.Logf("%d scalars", len(o.Scalars))
}

func TestDotlistsAsOmegaConf(t *testing.T) {
	for _, c := range reference(t).Dotlists {
		var args []string
		var want string
		if err := json.Unmarshal(c[0], &args); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(c[1], &want); err != nil {
			t.Fatal(err)
		}
		got := "error"
		if v, err := Overrides(args); err == nil {
			got = show(v.Any())
		}
		if got != want {
			t.Errorf("%q gave %q, want %q", args, got, want)
		}
	}
}

func TestErrorsPointAtThePlace(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"duplicate": {
			"a: 1\nb: 2\na: 3\n",
			"c.yaml:3:1: duplicate key \"a\": already given at c.yaml:1:1\n   3 | a: 3\n     | ^",
		},
		"nested duplicate": {
			"m:\n  x: 1\n  x: 2\n",
			"c.yaml:3:3: duplicate key \"x\": already given at c.yaml:2:3\n   3 |   x: 2\n     |   ^",
		},
		"tab": {
			"a: 1\nm:\n\tb: 1\n",
			"c.yaml:3:2: not YAML: found character that cannot start any token (YAML does not allow tabs as indentation)\n   3 | \tb: 1\n     | \t^",
		},
		"indent": {
			"a: 1\nb: 2\n   c: 3\nd: 4\n",
			"c.yaml:3:4: not YAML: mapping values are not allowed in this context\n   3 |    c: 3\n     |    ^",
		},
		"open quote": {
			"a: 1\nb: 'x\nc: 3\n",
			"c.yaml:2:1: not YAML: found unexpected end of stream\n   2 | b: 'x\n     | ^",
		},
		"list at the top": {
			"- a\n",
			"c.yaml:1:1: expected key: value lines, got a list of 1\n   1 | - a\n     | ^",
		},
		"second document": {
			"a: 1\n---\nb: 2\n",
			"c.yaml:2:1: a second document starts here: a configuration is one document\n   2 | ---\n     | ^",
		},
		"foreign tag": {
			"a: !!python/object:x 1\n",
			"c.yaml:1:4: tag !!python/object:x is not supported here\n   1 | a: !!python/object:x 1\n     |    ^",
		},
	} {
		_, err := Parse("c.yaml", []byte(c.text))
		if err == nil || strings.ReplaceAll(err.Error(), "tag:yaml.org,2002:", "!!") != c.want {
			t.Errorf("%s: got\n%v\nwant\n%s", name, err, c.want)
		}
	}
}

func TestOverridesPointAtThemselves(t *testing.T) {
	for arg, want := range map[string]string{
		"a=[1":       "override 'a=[1': not YAML: ",
		"=1":         "override '=1': there is no key before '='",
		"a={x: 1, x": "override 'a={x: 1, x': not YAML: ",
	} {
		if _, err := Overrides([]string{arg}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", arg, err, want)
		}
	}
	v, err := Overrides([]string{"a.b=x"})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := v.Get("a")
	b, _ := a.Value.Get("b")
	if got := b.Value.Pos.Errorf("no").Error(); got != "override 'a.b=x': no" {
		t.Errorf("got %q", got)
	}
}

func TestMerge(t *testing.T) {
	file, err := Parse("c.yaml", []byte("a: 1\nm: {x: 1, l: [1, 2]}\nkeep: yes\n"))
	if err != nil {
		t.Fatal(err)
	}
	over, err := Overrides([]string{"a=2", "m.l=[3]", "m.y=5", "new=z"})
	if err != nil {
		t.Fatal(err)
	}
	file.Merge(over)
	want := "{a: int 2, keep: bool True, m: {l: [int 3], x: int 1, y: int 5}, new: str z}"
	if got := show(file.Any()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	e, _ := file.Get("keep")
	if e.Pos.String() != "c.yaml:3:1" || e.Value.Pos.String() != "c.yaml:3:7" {
		t.Errorf("keep is at %s, its value at %s", e.Pos, e.Value.Pos)
	}
}

func TestAnchorsAndMergeKeys(t *testing.T) {
	v, err := Parse("c.yaml", []byte("base: &b {x: 1, y: 2}\nd:\n  y: 3\n  <<: *b\ne: *b\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "{base: {x: int 1, y: int 2}, d: {x: int 1, y: int 3}, e: {x: int 1, y: int 2}}"
	if got := show(v.Any()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for i, c := range "bcdefgh" {
		prev := string("abcdefg"[i])
		bomb += fmt.Sprintf("%c: &%c [*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s,*%s]\n", c, c, prev, prev, prev, prev, prev, prev, prev, prev, prev, prev)
	}
	if _, err := Parse("c.yaml", []byte(bomb)); err == nil || !strings.Contains(err.Error(), "aliases expand") {
		t.Errorf("alias bomb: %v", err)
	}
	if _, err := Parse("c.yaml", []byte("a: &a [*a]\n")); err == nil {
		t.Error("a self-containing list was accepted")
	}
}

func TestJSONAndEmpty(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	if err := os.WriteFile(path, []byte("{\n\t\"a\": 1e-4,\n\t\"b\": [true, null, \"1\"]\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := show(v.Any()), "{a: float 0.0001, b: [bool True, null, str 1]}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, text := range []string{"", "# nothing\n", "---\n", "null\n"} {
		if v, err := Parse("c.yaml", []byte(text)); err != nil || v.Kind != Map {
			t.Errorf("%q: %v, %v", text, v, err)
		}
	}
	if _, err := Load(path + ".missing"); err == nil {
		t.Error("missing file: no error")
	}
}

func TestNearest(t *testing.T) {
	known := []string{"learning_rate", "lora_rank", "lora_alpha", "stage", "seed"}
	for key, want := range map[string]string{
		"learning_rat": "learning_rate", "learning-rate": "learning_rate", "Lora_Rnak": "lora_rank", "sede": "seed", "banana": "", "": "",
	} {
		if got, _ := Nearest(key, known); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}

// TestBounds: a hostile or unsuitable file ends quickly in one short error, which names the
// limit where there is one.
func TestBounds(t *testing.T) {
	var merges strings.Builder
	merges.WriteString("a0: &a0 {k1: 1, k2: 2}\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&merges, "a%d: &a%d\n  <<: [*a%d, *a%d]\n", i, i, i-1, i-1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"merges":  {merges.String(), "more than 262144 values: <<"},
		"a cycle": {"a: &a\n  b: *a\n", "nested deeper than 1000 levels"},
		"nesting": {"a: " + strings.Repeat("[", 20000), "exceeded max depth of 10000"},
		"a line":  {"a: {" + strings.Repeat("x", 1<<20) + "\n", "not YAML"},
		"escapes": {"a: \"\\e[31m\"\nb: [\u2028\u202e\n", "not YAML"},
	} {
		_, err := Parse("f.yaml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %.300v does not say %q", name, err, c.want)
		}
		if err != nil && (len(err.Error()) > 1000 || strings.ContainsAny(err.Error(), "\x1b\u202e")) {
			t.Errorf("%s: the message has %d bytes, or characters that steer a terminal", name, len(err.Error()))
		}
	}
	v, err := Parse("f.yaml", []byte("a: 1"+strings.Repeat("0", longestNumber)+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if e, _ := v.Get("a"); e.Value.Kind != String || len(e.Value.Describe()) > 100 {
		t.Errorf("a number of %d digits is %.200s", longestNumber, e.Value.Describe())
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, maxBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big); err == nil || !strings.Contains(err.Error(), "at most 4194304") {
		t.Errorf("a file of %d bytes: %v", maxBytes+1, err)
	}
}

// TestMissingFile: a file that is not there is an error that names the nearest one beside it.
func TestMissingFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "less.yaml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"les.yaml": ": did you mean " + filepath.Join(dir, "less.yaml") + "?", "nothing.txt": "no such file or directory"} {
		if _, err := Load(filepath.Join(dir, name)); err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package yamlfile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/big"
	"os"
	"strconv"
	"strings"
	"testing"
)

// sharedLines decodes a file of JSON lines of the reference material beside the
// checkout, or skips.
func sharedLines[T any](t *testing.T, path string) []T {
	t.Helper()
	raw, err := os.ReadFile("../../../shared/data/yaml/" + path)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no ../shared beside the checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(raw)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	}
	var out []T
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<22)
	for sc.Scan() {
		var c T
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.UseNumber()
		if err := d.Decode(&c); err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// pyyaml is what PyYAML's safe_load_all made of a text.
type pyyaml struct {
	Docs  []any
	Error string
}

// fromPyYAML turns the recorded values into ours: JSON numbers to ints and floats,
// {"!float": repr}, and strings that OmegaConf's wider rule makes floats.
func fromPyYAML(v any, quoted string) any {
	switch x := v.(type) {
	case json.Number:
		if i, err := x.Int64(); err == nil {
			return i
		}
		if b, ok := new(big.Int).SetString(x.String(), 10); ok {
			return b
		}
		f, _ := x.Float64()
		return f
	case string:
		// a plain 1e-5 is text to PyYAML; a quoted one is text to both
		if !strings.Contains(quoted, "'"+x+"'") && !strings.Contains(quoted, `"`+x+`"`) && !strings.Contains(quoted, "!!str") {
			if p, err := plain(x); err == nil && p.Kind == Float {
				return p.Float
			}
		}
	case []any:
		for i := range x {
			x[i] = fromPyYAML(x[i], quoted)
		}
	case map[string]any:
		if r, ok := x["!float"].(string); ok && len(x) == 1 {
			f, _ := strconv.ParseFloat(r, 64)
			return f
		}
		if r, ok := x["!timestamp"].(string); ok && len(x) == 1 {
			return "timestamp " + r
		}
		for k := range x {
			x[k] = fromPyYAML(x[k], quoted)
		}
	}
	return v
}

func TestSharedConfigs(t *testing.T) {
	type config struct {
		Path, YAML string
		PyYAML     pyyaml
	}
	files := sharedLines[config](t, "configs_pyyaml.jsonl.gz")
	for _, f := range files {
		v, err := Parse(f.Path, []byte(f.YAML))
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if got, want := show(v.Any()), show(fromPyYAML(f.PyYAML.Docs[0], f.YAML)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", f.Path, got, want)
		}
	}
	t.Logf("%d files equal", len(files))
}

func TestSharedScalars(t *testing.T) {
	type scalar struct {
		YAML   string
		PyYAML pyyaml
	}
	for _, c := range sharedLines[scalar](t, "scalars_pyyaml.jsonl") {
		want := "error"
		if c.PyYAML.Error == "" {
			want = show(fromPyYAML(c.PyYAML.Docs[0].(map[string]any)["v"], c.YAML))
		}
		got := "error"
		if v, err := Parse("t.yaml", []byte(c.YAML)); err == nil {
			e, _ := v.Get("v")
			got = show(e.Value.Any())
		}
		if strings.HasPrefix(want, "str timestamp ") { // OmegaConf has none: text
			want = "str " + strings.TrimSpace(strings.TrimPrefix(c.YAML, "v: "))
		}
		if got != want {
			t.Errorf("%q gave %q, want %q", c.YAML, got, want)
		}
	}
}

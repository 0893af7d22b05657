package recipe

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	_ "dataflex.dev/dataflex/algo/mixer"
	_ "dataflex.dev/dataflex/algo/selector"
	_ "dataflex.dev/dataflex/algo/weighter"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// variants are further parameters with which a method is built, so that those it reads only in
// some cases are seen.
var variants = map[string][]string{
	"nice":   {"reward: contains", "policy_model_path: tools/dataflex-demo/model, reward: contains"},
	"near":   {"indices_path: data/examples/near.npy"},
	"tsds":   {"probs_path: data/examples/tsds.npy"},
	"doremi": {"reference_model_path: tools/dataflex-demo/model"},
	"pipeline": {
		"stages: [{family: selector, component: loss}, {family: mixer, component: odm}]",
	},
	"reorder": {
		"kind: static, pattern: stair", "kind: dynamic, pattern: segment", "score_source: cached_selection, score_params: {cache_path: x, fill_value: 1}", "score_source: model_loss", "pattern: folding",
	},
}

// asked builds a method in every variant and returns the parameters that it read in a mode.
func asked(t *testing.T, kind Kind, component string, mode algo.Mode) (out []config.Asked) {
	t.Helper()
	for _, v := range append([]string{""}, variants[component]...) {
		bucket := kind.Bucket()
		file := filepath.Join(t.TempDir(), "c.yaml")
		text := fmt.Sprintf("%s:\n  %s: {mode: %s, params: {%s}}\n", bucket, component, mode, v)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		c, err := config.LoadComponent(file, bucket, component)
		if err != nil {
			t.Fatal(err)
		}
		build(t, kind, c)
		for _, a := range c.Params.Asked() {
			if !slices.ContainsFunc(out, func(b config.Asked) bool { return b.Name == a.Name }) {
				out = append(out, a)
			}
		}
	}
	return out
}

// build makes a method on the outline of a run; whether it returns an error does not matter.
func build(t *testing.T, kind Kind, c *config.Component) {
	t.Helper()
	model, err := decoder.Outline("tools/dataflex-demo/model", decoder.Options{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	optimizer, err := optim.New("adamw_torch", nil, nil, optim.Settings{Beta1: 0.9, Beta2: 0.999, Eps: 1e-8})
	if err != nil {
		t.Fatal(err)
	}
	run := &algo.Run{
		Outline: true, Model: model, Optimizer: optimizer, Train: make([]data.Example, 1), Eval: make([]data.Example, 1),
		Seed: 42, UpdatesPerEpoch: 3, Log: slog.New(slog.DiscardHandler), Tokenizer: new(tokenizer.Tokenizer),
	}
	switch kind {
	case Select:
		_, _ = algo.BuildSelector(run, c)
	case Mix:
		_, _ = algo.BuildMixer(run, []algo.Domain{{Name: "a", Rows: []int{0}}, {Name: "b", Rows: []int{0}}}, c)
	case Weight:
		_, _ = algo.BuildWeighter(run, c)
	case Order:
		_ = curriculum.CheckOrder(new(config.Config), run, c)
	case Lego:
		own := new(config.Config)
		own.Dynamic.ComponentsCfgFile = "data/examples/components.yaml"
		_ = curriculum.CheckPipeline(own, run, []algo.Domain{{Name: "a", Rows: []int{0}}}, c)
	}
}

// TestMethodsTakeTheirParameters: the table has the parameters that the constructors read, with
// their types and defaults in both modes, and every registered method.
func TestMethodsTakeTheirParameters(t *testing.T) {
	t.Chdir("../..")
	has := map[Kind][]string{}
	for _, m := range Methods() {
		has[m.Kind] = append(has[m.Kind], m.Component)
		faithful, upstream := askedOf(t, m, algo.Faithful), askedOf(t, m, algo.Upstream)
		for _, p := range m.Params {
			a, ok := faithful[p.Name]
			b, ok2 := upstream[p.Name]
			if !ok && !ok2 {
				t.Errorf("%s: nobody asks for %s", m.Name, p.Name)
				continue
			}
			checkDefault(t, m.Name, p, p.Default, a, ok)
			checkDefault(t, m.Name, p, cmp.Or(p.Upstream, p.Default), b, ok2)
			delete(faithful, p.Name)
			delete(upstream, p.Name)
		}
		for _, left := range []map[string]any{faithful, upstream} {
			for name := range left {
				t.Errorf("%s: %s is not in the table", m.Name, name)
			}
		}
		if m.Does() == "" || m.Cost == "" || m.Loses == "" || len(m.recipes()) == 0 {
			t.Errorf("%s: something is missing", m.Name)
		}
	}
	for kind, names := range map[Kind][]string{Select: algo.Selectors(), Mix: algo.Mixers(), Weight: algo.Weighters()} {
		if got := slices.Sorted(slices.Values(has[kind])); !slices.Equal(got, names) {
			t.Errorf("%s: the table has %v, registered are %v", kind, got, names)
		}
	}
}

func askedOf(t *testing.T, m Method, mode algo.Mode) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, a := range asked(t, m.Kind, cmp.Or(m.Component, m.Name), mode) {
		out[a.Name] = a.Default
	}
	return out
}

// checkDefault compares a default in the table with the one that the constructor uses.
func checkDefault(t *testing.T, method string, p Parameter, want string, got any, ok bool) {
	t.Helper()
	if !ok || got == nil { // not read in this mode, or only whether it is set
		return
	}
	kind, text := map[string]string{
		"float64": "number", "int": "integer", "string": "text", "bool": "bool", "[]float64": "numbers", "[]int": "integers", "[]string": "texts", "map[string]interface {}": "map",
	}[fmt.Sprintf("%T", got)], fmt.Sprint(got)
	switch v := got.(type) {
	case []float64, []int, []string, map[string]any:
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text = strings.ReplaceAll(string(raw), ",", ", ")
		if text == "null" || text == "{}" {
			text = ""
		}
	case float64:
		if math.IsInf(v, 1) {
			text = ""
		}
	}
	if head, cut := strings.CutSuffix(want, " …"); cut && strings.HasPrefix(text, head) {
		text = want
	}
	if kind != p.Type || text != want {
		t.Errorf("%s: %s is %s %q, the table says %s %q", method, p.Name, kind, text, p.Type, want)
	}
}

// TestMethodPages: data/examples/methods has exactly the pages generated from the table.
func TestMethodPages(t *testing.T) {
	const dir = "../../data/examples/methods"
	want := map[string]string{"README.md": MethodIndex()}
	for _, m := range Methods() {
		want[m.Name+".md"] = m.Page()
	}
	for name, text := range want {
		path := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s is not what the table says (%v): go test ./tools/recipe -update writes it", path, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := want[filepath.Base(f)]; !ok {
			t.Errorf("%s is no method", f)
		}
	}
}

// TestFindMethod: for a mistyped name the nearest one is suggested.
func TestFindMethod(t *testing.T) {
	if m, err := FindMethod("weight_loss"); err != nil || m.Component != "loss" || m.Kind != Weight {
		t.Errorf("%v, %v", m.Name, err)
	}
	if _, err := FindMethod("les"); err == nil || !strings.Contains(err.Error(), "did you mean less?") {
		t.Error(err)
	}
}

package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const componentsFile = `selectors:
  less:
    name: less
    params:
      cache_dir: cache/less
      gradient_type: adam
      proj_dim: 1024
      seed: 123
      quantiles: [0.33, 0.66]
      command: [python, score.py]
      replacement: false
      temperature: 1
      nothing: null
  mine:
    name: less
    mode: upstream
    params: {proj_dim: 8, mode: upstream}
  bare:
  loss: {name: loss, params: null}
reorderers:
  saw: {name: saw}
`

func component(t *testing.T, bucket, name string) *Component {
	t.Helper()
	c, err := LoadComponent(write(t, "components.yaml", componentsFile), bucket, name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestComponent(t *testing.T) {
	c := component(t, "selectors", "less")
	p := c.Params
	if c.Name != "less" || c.Mode != "faithful" || c.Position != "components.yaml:2:3" {
		t.Errorf("%+v", c)
	}
	if p.String("cache_dir", "x") != "cache/less" || p.String("gradient_type", "") != "adam" || p.Int("proj_dim", 0) != 1024 || p.Int("seed", 0) != 123 ||
		!slices.Equal(p.Floats("quantiles", nil), []float64{0.33, 0.66}) || !slices.Equal(p.Strings("command", nil), []string{"python", "score.py"}) ||
		p.Bool("replacement", true) || p.Float("temperature", 5) != 1 {
		t.Errorf("values of %s", c.Raw)
	}
	if p.Int("nothing", 7) != 7 || p.Float("absent", 0.5) != 0.5 || p.Given("nothing") || !p.Given("seed") {
		t.Error("null or absent parameters do not give their defaults")
	}
	if err := errors.Join(p.Err(), p.Unknown()); err != nil {
		t.Error(err)
	}
	want := `{cache_dir: "cache/less", command: ["python", "score.py"], gradient_type: "adam", nothing: <nil>, proj_dim: 1024, quantiles: [0.33, 0.66], replacement: false, seed: 123, temperature: 1}`
	if c.Raw != want {
		t.Errorf("got %s", c.Raw)
	}
}

func TestComponentModeAndForms(t *testing.T) {
	c := component(t, "selectors", "mine")
	if c.Name != "less" || c.Mode != "upstream" || c.Params.Int("proj_dim", 0) != 8 || c.Params.Unknown() != nil {
		t.Errorf("%+v", c)
	}
	if c := component(t, "selectors", "loss"); c.Raw != "{}" || c.Params.Unknown() != nil {
		t.Errorf("%+v", c)
	}
	if c := component(t, "selectors", "bare"); c.Name != "bare" || c.Raw != "{}" {
		t.Errorf("%+v", c)
	}
	if c := component(t, "reorders", "saw"); c.Name != "saw" || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], "older spelling") {
		t.Errorf("%+v", c)
	}
}

func TestComponentFaults(t *testing.T) {
	file := write(t, "components.yaml", componentsFile)
	for _, c := range []struct{ file, bucket, name, want string }{
		{"nowhere.yaml", "selectors", "less", "components_cfg_file: cannot read the configuration: open nowhere.yaml"},
		{file, "mixers", "odm", "components.yaml: there are no mixers; the file has reorderers, selectors"},
		{file, "selectors", "lses", "components.yaml:1:1: there is no \"lses\" among the selectors (did you mean less?): they are bare, less, loss, mine"},
	} {
		if _, err := LoadComponent(c.file, c.bucket, c.name); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: got %v, want %s", c.bucket, c.name, err, c.want)
		}
	}
	for text, want := range map[string]string{
		"selectors: [less]\n":                                   "c.yaml:1:12: selectors: expected a map of components, got a list of 1",
		"selectors: {less: {mode: slow}}\n":                     "mode: string 'slow' is not one of faithful, upstream",
		"selectors: {less: {params: {mode: slow}}}\n":           "mode: string 'slow' is not one of faithful, upstream",
		"selectors: {less: 3}\n":                                "less: expected name and params, got int 3",
		"selectors: {less: {params: 3}}\n":                      "params: expected a map, got int 3",
		"selectors: {less: {proj_dim: 3}}\n":                    "unknown key \"proj_dim\" in component less: the keys are name, mode and params",
		"selectors: {less: {params: {a: 1, a: 2}}, less: {}}\n": "duplicate key \"a\"",
	} {
		if _, err := LoadComponent(write(t, "c.yaml", text), "selectors", "less"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestParamsFaults(t *testing.T) {
	text := "selectors:\n  less:\n    params:\n      proj_dmi: 5\n      zzz: 1\n      seed: abc\n"
	c, err := LoadComponent(write(t, "c.yaml", text), "selectors", "less")
	if err != nil {
		t.Fatal(err)
	}
	p := c.Params
	if p.Int("seed", 42) != 42 || p.Int("proj_dim", 8192) != 8192 {
		t.Error("defaults")
	}
	if err := p.Err(); err == nil || err.Error() != "c.yaml:6:13: seed: expected a whole number, got string 'abc'\n   6 |       seed: abc\n     |             ^" {
		t.Errorf("got %v", err)
	}
	for _, want := range []string{
		"c.yaml:4:7: unknown parameter \"proj_dmi\" of component less: did you mean proj_dim?\n   4 |       proj_dmi: 5\n     |       ^",
		"c.yaml:5:7: unknown parameter \"zzz\" of component less: the parameters are proj_dim, seed",
	} {
		if err := p.Unknown(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	cause := errors.New("too small")
	if err := p.Wrap("seed", cause); !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "c.yaml:6:13: seed: too small") || p.Wrap("seed", nil) != nil {
		t.Errorf("got %v", err)
	}
	if got := p.At("proj_dim"); got != "c.yaml:2:3" {
		t.Errorf("a parameter that is not given is at %s", got)
	}
}

func TestComponentOfConfig(t *testing.T) {
	write(t, "components.yaml", componentsFile)
	const text = minimal + "train_type: dynamic_select\ncomponent_name: less\nwarmup_step: 1\nupdate_step: 1\ncomponents_cfg_file: components.yaml\n"
	c, err := loadText(text)
	if err != nil {
		t.Fatal(err)
	}
	if comp, err := c.Component(); err != nil || comp.Name != "less" {
		t.Errorf("%+v, %v", comp, err)
	}
	c.Dynamic.ComponentName = "odm"
	if _, err := c.Component(); err == nil || !strings.HasPrefix(err.Error(), "c.yaml:7:17: components.yaml:1:1: there is no \"odm\"") {
		t.Errorf("got %v", err)
	}
}

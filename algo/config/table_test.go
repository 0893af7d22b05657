package config

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/yamlfile"
)

// ownDefaults are the keys whose default differs from upstream's, with the reason.
var ownDefaults = map[string]string{
	"component_name": "upstream's Loss names no component",
	"fsdp":           "upstream's empty string says nothing",
	"debug":          "upstream's empty string says nothing",
	"mp_parameters":  "upstream's empty string says nothing",
}

// Every key of LLaMA-Factory 0.9.4, transformers 4.52.4 and DataFlex 1.1.0 is in the
// table, with upstream's default (testdata from tools/golden/config_keys.py).
func TestTableHasEveryUpstreamKey(t *testing.T) {
	raw, err := os.ReadFile("testdata/upstream_keys.json")
	if err != nil {
		t.Fatal(err)
	}
	var upstream map[string]any
	if err := json.Unmarshal(raw, &upstream); err != nil {
		t.Fatal(err)
	}
	for name, def := range upstream {
		k, ok := lookup(name)
		if !ok {
			t.Errorf("%s (default %v) is not in the table", name, def)
			continue
		}
		if _, own := ownDefaults[name]; own {
			continue
		}
		d, _ := defaults().Get(name)
		if got := jsonValue(d.Value); got != def && (k.Choices == nil || d.Value.Text != def) {
			t.Errorf("%s: default %v, upstream %v", name, got, def)
		}
	}
	counts := map[Status]int{}
	for _, k := range Keys() {
		counts[k.Status]++
		if _, ok := upstream[k.Name]; !ok {
			t.Logf("%s is of another version of upstream", k.Name)
		}
	}
	t.Logf("%d keys upstream; here %d honoured, %d ignored, %d refused", len(upstream), counts[Honoured], counts[Ignored], counts[Refused])
}

// Every key that later versions of LLaMA-Factory (0.9.5, main of August 2026), transformers 4.57 and
// 5.6 have is in the table, or its error says where it belongs (testdata from config_keys.py --later).
func TestLaterKeys(t *testing.T) {
	raw, err := os.ReadFile("testdata/later_keys.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields(string(raw))
	if len(names) < 20 {
		t.Fatalf("only %d names", len(names))
	}
	for _, name := range names {
		_, known := lookup(name)
		if otherFiles[name] == "" && otherVersions[name] == "" && !known {
			t.Errorf("%s is unknown", name)
		}
	}
}

func jsonValue(v *yamlfile.Value) any {
	if x, ok := v.Number(); ok {
		return x
	}
	return v.Any()
}

// The table is consistent: honoured keys have a field and a help text, all others a reason.
func TestTableIsComplete(t *testing.T) {
	c := new(Config)
	targets := map[any]string{}
	for _, k := range Keys() {
		if (k.bind != nil) != (k.Status == Honoured) || (k.Help == "") != (k.Status != Honoured) || (k.Note == "") != (k.Status == Honoured) {
			t.Errorf("%s: status %d with bind %t, help %q, note %q", k.Name, k.Status, k.bind != nil, k.Help, k.Note)
			continue
		}
		if k.bind == nil {
			continue
		}
		p := k.bind(c)
		if other, taken := targets[p]; taken {
			t.Errorf("%s and %s go to the same field", k.Name, other)
		}
		targets[p] = k.Name
		fits := false
		switch p.(type) {
		case *bool, **bool:
			fits = k.Type == Bool
		case *int, **int, *int64, **int64:
			fits = k.Type == Int
		case *float64, **float64:
			fits = k.Type == Float
		case *string, **string:
			fits = k.Type == Text
		case *[]string:
			fits = k.Type == List
		case *[]float64:
			fits = k.Type == Floats
		case *map[string]any:
			fits = k.Type == Map
		default:
			fits = k.Type == Mixed
		}
		if !fits {
			t.Errorf("%s: type %s goes to %T", k.Name, k.Type, p)
		}
	}
}

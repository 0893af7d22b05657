package identity

import (
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"

	"github.com/google/go-cmp/cmp"
)

// TestDiffering: keys that both have are compared, contents and long values cut short.
func TestDiffering(t *testing.T) {
	sum := strings.Repeat("0123456789abcdef", 4)
	was := []config.Setting{{Key: "seed", Value: "1"}, {Key: "dataset", Value: sum}, {Key: "optim", Value: "sgd"}, {Key: "gone", Value: "x"}, {Key: "lora_target", Value: strings.Repeat("a", 121)}, {Key: "rope_scaling", Value: ""}}
	is := []config.Setting{{Key: "seed", Value: "2"}, {Key: "dataset", Value: sum[1:] + "0"}, {Key: "optim", Value: "sgd"}, {Key: "new", Value: "y"}, {Key: "lora_target", Value: "b"}, {Key: "rope_scaling", Value: "linear"}}
	want := []string{
		"seed was 1, is now 2", "dataset was another content (01234567…), is now another content (12345678…)",
		"lora_target was " + strings.Repeat("a", 100) + "…, is now b", "rope_scaling was empty, is now linear",
	}
	if d := cmp.Diff(want, Differing(was, is)); d != "" {
		t.Error(d)
	}
}

// TestOfModel: what a model is made by, and neither rows nor method.
func TestOfModel(t *testing.T) {
	id := &Identity{Run: []config.Setting{{Key: "model_name_or_path"}, {Key: "dataset"}, {Key: "component_name"}, {Key: "seed"}, {Key: "lora_rank"}, {Key: "freeze_extra_modules"}}}
	for finetuning, want := range map[string][]config.Setting{
		config.LoRA:   {{Key: "model_name_or_path"}, {Key: "lora_rank"}},
		config.Freeze: {{Key: "model_name_or_path"}, {Key: "freeze_extra_modules"}},
		config.Full:   {{Key: "model_name_or_path"}},
	} {
		if d := cmp.Diff(want, id.OfModel(finetuning)); d != "" {
			t.Errorf("%s: %s", finetuning, d)
		}
	}
	if len(id.Run) != 6 {
		t.Errorf("the identity has lost settings: %v", id.Run)
	}
}

// TestHashRows: every part of a row, its order and the border between two parts count.
func TestHashRows(t *testing.T) {
	rows := func(change func([]data.Example)) string {
		r := []data.Example{
			{ID: data.ID{Dataset: "a", Row: 0}, InputIDs: []int32{1, 2, 3}, Labels: []int32{-100, 2, 3}},
			{ID: data.ID{Dataset: "a", Row: 1}, InputIDs: []int32{4, 5}, Labels: []int32{-100, 5}},
		}
		change(r)
		return hashRows(r)
	}
	seen := map[string]string{}
	for name, change := range map[string]func([]data.Example){
		"as it is":    func([]data.Example) {},
		"the order":   func(r []data.Example) { r[0], r[1] = r[1], r[0] },
		"a token":     func(r []data.Example) { r[1].InputIDs[0] = 6 },
		"a label":     func(r []data.Example) { r[1].Labels[1] = -100 },
		"a row":       func(r []data.Example) { r[1].Row = 7 },
		"a data set":  func(r []data.Example) { r[1].Dataset = "b" },
		"a subtask":   func(r []data.Example) { r[1].Subtask = "b" },
		"a weight":    func(r []data.Example) { r[1].Given, r[1].Value = true, 0.5 },
		"a position":  func(r []data.Example) { r[1].PositionIDs = []int32{0, 0} },
		"the segment": func(r []data.Example) { r[1].Segments = []int32{0, 0} },
		"the border":  func(r []data.Example) { r[0].InputIDs, r[0].Labels = []int32{1, 2, 3, -100}, []int32{2, 3} },
	} {
		sum := rows(change)
		if other, there := seen[sum]; there {
			t.Errorf("%s and %s have one name", name, other)
		}
		seen[sum] = name
	}
	if hashRows(nil) == rows(func([]data.Example) {}) {
		t.Error("no rows have the name of two")
	}
}

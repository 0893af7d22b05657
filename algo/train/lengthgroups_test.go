package train

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
)

// TestLengthGroupsAsTransformers: the rows of every pass and of every evaluation, recorded
// from Hugging Face's Trainer (transformers 4.52.4, tools/golden/lengthgroups.py): an
// evaluation before training, two within passes, one at the end of a pass, one after training.
func TestLengthGroupsAsTransformers(t *testing.T) {
	raw, err := os.ReadFile("testdata/lengthgroups.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Train []int
		Sets  [][]int
		Log   []struct {
			Step  int
			Set   string
			Order []int
		}
	}
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	plan := Plan{Rows: len(recorded.Train), Micro: 3, Accumulate: 2, Ranks: 1}
	groups := &lengthGroups{plan: plan, seed: 42, train: ofLengths(recorded.Train), evalBatch: 2, evaluates: func(step int) bool { return step%5 == 0 }}
	for i, name := range []string{"eval_a", "eval_b"} {
		groups.sets = append(groups.sets, EvalSet{Name: name, Examples: ofLengths(recorded.Sets[i])})
	}
	s := sampler{plan: plan, seed: 42, shuffle: true, groups: groups, window: curriculum.Window{}}
	passes := make([][]int, 3)
	for i, e := range recorded.Log {
		if e.Set == "train" {
			pass := e.Step / plan.StepsPerEpoch()
			passes[pass] = append(passes[pass], e.Order...)
			continue
		}
		set := slices.IndexFunc(groups.sets, func(s EvalSet) bool { return s.Name == e.Set })
		final := i >= len(recorded.Log)-len(groups.sets)
		if got := groups.evaluation(e.Step, set, final); !slices.Equal(got, e.Order) {
			t.Errorf("%s after step %d: %v, recorded %v", e.Set, e.Step, got, e.Order)
		}
	}
	for e, want := range passes {
		if got := s.order(e); !slices.Equal(got, want) {
			t.Errorf("pass %d: %v, recorded %v", e, got, want)
		}
	}
}

// ofLengths are examples of that many tokens.
func ofLengths(lengths []int) []data.Example {
	out := make([]data.Example, len(lengths))
	for i, n := range lengths {
		out[i].InputIDs = make([]int32, n)
	}
	return out
}

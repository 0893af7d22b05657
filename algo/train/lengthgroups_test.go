package train

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/data"
)

// TestLengthGroupsAsTransformers: the rows of every pass and of every evaluation, recorded
// from Hugging Face's Trainer (transformers 4.52.4, tools/golden/lengthgroups.py) with and
// without dataloader_drop_last: an evaluation before training, some within passes, some at
// the end of a pass, one after training.
func TestLengthGroupsAsTransformers(t *testing.T) {
	raw, err := os.ReadFile("testdata/lengthgroups.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Train         []int
		Sets          [][]int
		Log, DropLast []recordedOrder
	}
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	for _, dropLast := range []bool{false, true} {
		log := recorded.Log
		if dropLast {
			log = recorded.DropLast
		}
		plan := Plan{Rows: len(recorded.Train), Micro: 3, Accumulate: 2, Ranks: 1, DropLast: dropLast}
		groups := &lengthGroups{plan: plan, seed: 42, train: ofLengths(recorded.Train), evalBatch: 2, evaluates: func(step int) bool { return step%5 == 0 }}
		for i, name := range []string{"eval_a", "eval_b"} {
			groups.sets = append(groups.sets, EvalSet{Name: name, Examples: ofLengths(recorded.Sets[i])})
		}
		c := &config.Config{}
		c.Training.PerDeviceEvalBatchSize, c.Training.DataloaderDropLast = groups.evalBatch, dropLast
		v := &evaluator{config: c, sets: groups.sets, groups: groups}
		s := sampler{plan: plan, seed: 42, shuffle: true, dropLast: dropLast, groups: groups, window: curriculum.Window{}}
		checkOrders(t, log, v, &s)
	}
}

// recordedOrder are the rows of an evaluation, or of a part of a pass.
type recordedOrder struct {
	Step  int
	Set   string
	Order []int
}

func checkOrders(t *testing.T, log []recordedOrder, v *evaluator, s *sampler) {
	t.Helper()
	passes := make([][]int, 3)
	for i, e := range log {
		if e.Set == "train" {
			pass := e.Step / s.plan.StepsPerEpoch()
			passes[pass] = append(passes[pass], e.Order...)
			continue
		}
		set := slices.IndexFunc(v.sets, func(s EvalSet) bool { return s.Name == e.Set })
		v.final = i >= len(log)-len(v.sets)
		if got := v.order(e.Step, set); !slices.Equal(got, e.Order) {
			t.Errorf("drop last %v, %s after step %d: %v, recorded %v", s.dropLast, e.Set, e.Step, got, e.Order)
		}
	}
	for e, want := range passes {
		got := s.order(e)
		if got = got[:min(len(got), s.plan.microPerEpoch()*s.plan.Micro)]; !slices.Equal(got, want) {
			t.Errorf("drop last %v, pass %d: %v, recorded %v", s.dropLast, e, got, want)
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

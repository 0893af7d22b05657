package train_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
)

// lent is the Run that the last run passed to the selector of these tests. Its rows are
// copies, because the run's memory has been freed.
var lent algo.Run

func init() {
	for name, asks := range map[string]bool{"test_asks": true, "test_quiet": false} {
		algo.RegisterSelector(name, func(run *algo.Run, _ algo.Mode, _ *config.Params) (algo.Selector, error) {
			return lender{run, asks}, nil
		})
	}
}

// lender selects the first rows.
type lender struct {
	run  *algo.Run
	asks bool
}

func (l lender) NeedsQuestions() bool { return l.asks }

func (l lender) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	if l.asks != (len(l.run.Questions) == len(l.run.Eval)) {
		return algo.Selection{}, fmt.Errorf("%d questions for %d rows", len(l.run.Questions), len(l.run.Eval))
	}
	lent = *l.run
	lent.Eval = nil
	for _, ex := range l.run.Eval {
		lent.Eval = append(lent.Eval, data.Example{ID: ex.ID, InputIDs: slices.Clone(ex.InputIDs), Labels: slices.Clone(ex.Labels), Subtask: ex.Subtask})
	}
	var s algo.Selection
	for i := range r.N {
		s.Indices = append(s.Indices, i)
	}
	return s, nil
}

// asking is a fixture with two evaluation sets, one of conversations, whose first row is
// dropped.
func asking(t *testing.T) *fixture {
	f := newFixture(t)
	f.write("components.yaml", "selectors:\n  asks: {name: test_asks}\n  quiet: {name: test_quiet}\n")
	f.json("eval.json", []map[string]any{
		{"instruction": "Add", "input": "1 and 2", "output": "3", "history": nil},
		{"instruction": "Add 4 and 5\n", "input": "now", "output": "9", "history": []any{[]string{"Hi", "Hello"}}},
		{"instruction": "Write in capitals: mo", "input": "", "output": "MO", "history": nil},
	})
	chat := func(text ...string) map[string]any {
		var m []map[string]string
		for i, s := range text {
			m = append(m, map[string]string{"from": []string{"human", "gpt"}[i%2], "value": s})
		}
		return map[string]any{"conversations": m}
	}
	f.json("chat.json", []map[string]any{chat("no answer"), chat("Add 1 and 1", "2", "And 2 and 2", "4")})
	f.json("dataset_info.json", map[string]any{
		"pool": map[string]any{"file_name": "pool.json"},
		"eval": map[string]any{"file_name": "eval.json", "columns": map[string]string{"prompt": "instruction", "query": "input", "response": "output", "history": "history"}},
		"chat": map[string]any{"file_name": "chat.json", "formatting": "sharegpt"},
	})
	return f
}

var askingArgs = []string{"train_type=dynamic_select", "component_name=asks", "eval_dataset=eval,chat", "max_steps=3", "overwrite_output_dir=true"}

// TestQuestions: a selector that needs questions gets every evaluation row as one, in the
// order of the rows: the prompt is the text before the labels of the last answer.
func TestQuestions(t *testing.T) {
	f := asking(t)
	f.must(askingArgs...)
	want := []algo.Question{
		{Instruction: "Add", Input: "1 and 2", Reference: "3"},
		{Instruction: "Add 4 and 5\n", Input: "now", Reference: "9"},
		{Instruction: "Write in capitals: mo", Reference: "MO"},
		{Instruction: "And 2 and 2", Reference: "4"},
	}
	if len(lent.Questions) != len(want) {
		t.Fatalf("%d questions", len(lent.Questions))
	}
	for i, q := range lent.Questions {
		ex := lent.Eval[i]
		n := len(ex.Labels)
		for n > 0 && ex.Labels[n-1] != data.IgnoreIndex {
			n--
		}
		if q.Instruction != want[i].Instruction || q.Input != want[i].Input || q.Reference != want[i].Reference || !slices.Equal(q.Prompt, ex.InputIDs[:n]) {
			t.Errorf("%v: %+v, want %+v and prompt %v", ex.ID, q, want[i], ex.InputIDs[:n])
		}
		if answer := lent.Tokenizer.Decode(ex.InputIDs[n:], true); !strings.HasPrefix(answer, q.Reference) {
			t.Errorf("%v: the prompt is followed by %q", ex.ID, answer)
		}
	}
	// Rows held out of the training set, in their own order.
	f.must(append(askingArgs, "eval_dataset=null", "val_size=5")...)
	for i, q := range lent.Questions {
		if text := lent.Tokenizer.Decode(lent.Eval[i].InputIDs, false); !strings.Contains(text, q.Instruction) || !strings.HasSuffix(text, q.Reference+"<|im_end|>\n") {
			t.Errorf("%q is not asked by %+v", text, q)
		}
	}
	// Questions are not made for a method that does not need them.
	f.must(append(askingArgs, "component_name=quiet")...)
	if lent.Questions != nil {
		t.Error("a selector that does not ask was given questions")
	}
}

// TestQuestionsOfOtherRows: text that differs from what was tokenised is refused.
func TestQuestionsOfOtherRows(t *testing.T) {
	f := asking(t)
	args := append(askingArgs, "tokenized_path="+filepath.Join(f.dir, "tokenised"))
	f.must(args...)
	raw, err := os.ReadFile(filepath.Join(f.dir, "eval.json"))
	if err != nil {
		t.Fatal(err)
	}
	f.write("eval.json", strings.Replace(string(raw), "capitals", "small", 1))
	if err := f.run(args...); err == nil || !strings.Contains(err.Error(), "row 2 of eval") || !strings.Contains(err.Error(), "eval_dataset") {
		t.Errorf("a row whose text has changed: %v", err)
	}
	f.json("eval.json", []map[string]string{})
	if err := f.run(args...); err == nil || !strings.Contains(err.Error(), "eval") {
		t.Errorf("rows that are gone: %v", err)
	}
}

// TestNICETrains: nice selects within a run, in both modes.
func TestNICETrains(t *testing.T) {
	t.Parallel()
	for mode, more := range map[string]string{
		"faithful": "fallback: none",
		"upstream": `projection: sjlt, mc_samples: 20, prompt_template: "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n", policy_model_path: ` + model,
	} {
		f := newFixture(t)
		// Hardly any answer of this model is right, but one in many contains an e.
		f.json("eval.json", []map[string]string{{"instruction": "Say e", "input": "", "output": "e"}, {"instruction": "Say it again", "input": "", "output": "e"}})
		f.write("components.yaml", fmt.Sprintf("selectors:\n  nice:\n    name: nice\n    mode: %s\n    params: {cache_dir: %s/cache/nice, proj_dim: 64, max_new_tokens: 8, reward: contains, %s}\n", mode, f.dir, more))
		f.must("train_type=dynamic_select", "component_name=nice", "max_steps=3")
		var got struct {
			Indices []int
			Metric  struct {
				Similarity []float64 `json:"train_eval_similarity"`
			}
		}
		readJSON(t, filepath.Join(f.dir, "cache/nice/step_2.json"), &got)
		// With an untrained model the cosines are small and of either sign; if no answer
		// were judged right, all would be 0.
		similarity := slices.Clone(got.Metric.Similarity)
		slices.Reverse(similarity)
		if len(got.Indices) != 8 || len(similarity) != 8 || !slices.IsSorted(similarity) || similarity[7] == 0 {
			t.Errorf("%s: chosen %v with similarities %v", mode, got.Indices, got.Metric.Similarity)
		}
	}
}

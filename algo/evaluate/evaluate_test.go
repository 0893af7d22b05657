package evaluate

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/model/decoder"
)

// demo is the demo's model, which is small and part of the project.
const demo = "../../tools/dataflex-demo/model"

func load(t *testing.T, dir string) (*decoder.Model, *tokenizer.Tokenizer) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no shared data: ", err)
	}
	dev := cpu.New(2)
	t.Cleanup(func() { dev.Close() })
	m, err := decoder.Load(dev, dir, decoder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m, tok
}

// The expected numbers are transformers 4.52.4's logits on torch 2.7.1, summed in
// float64.
func TestMeasure(t *testing.T) {
	m, _ := load(t, demo)
	none := int32(data.IgnoreIndex)
	got, err := Measure(context.Background(), m, []data.Example{
		{InputIDs: []int32{3, 10, 20, 30, 40, 50}, Labels: []int32{none, none, 20, 30, 40, 50}},
		{InputIDs: []int32{7, 8, 9}, Labels: []int32{7, 8, 9}},
		{InputIDs: []int32{5, 6}, Labels: []int32{none, none}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Rows != 3 || got.Tokens != 6 {
		t.Errorf("%+v", got)
	}
	for _, c := range [][2]float64{{got.Loss, 7.993153834255691}, {got.Perplexity, 2960.619554165286}, {got.EvalLoss, 8.145326010367583}} {
		if math.Abs(c[0]-c[1]) > 1e-5*c[1] {
			t.Errorf("%v, want %v", c[0], c[1])
		}
	}
	if _, err := Measure(context.Background(), m, []data.Example{{InputIDs: []int32{5, 6}, Labels: []int32{none, none}}}); err == nil || !strings.Contains(err.Error(), "nothing can be measured") {
		t.Error(err)
	}
}

// The log-likelihoods of A to D, by lm-evaluation-harness's rules on transformers'
// logits in float64 (2 shots); the demo's tokenizer spells " A" in two tokens, the other
// in one.
func TestMultipleChoice(t *testing.T) {
	for dir, want := range map[string][][4]float64{
		demo: {
			{-20.936541, -18.610657, -22.512204, -18.61059},
			{-25.732863, -24.073793, -26.800441, -24.033696},
			{-19.178255, -17.876058, -20.637951, -18.124964},
			{-19.903001, -18.507048, -20.537166, -17.725881},
			{-18.626446, -16.938911, -19.657984, -17.562726},
		},
		"../../../shared/golden/models/tiny-llama": {
			{-3.123283, -3.771371, -3.831099, -3.385},
			{-3.104678, -3.757256, -3.829834, -3.381822},
			{-3.197634, -3.773516, -4.012092, -3.436163},
			{-3.166301, -3.772315, -3.850325, -3.393972},
			{-3.132153, -3.737589, -3.849606, -3.446805},
		},
	} {
		t.Run(filepath.Base(filepath.Dir(dir)), func(t *testing.T) {
			m, tok := load(t, dir)
			subjects, err := ReadMMLU("testdata/mmlu", nil)
			if err != nil {
				t.Fatal(err)
			}
			o := ChoiceOptions{Shots: 2, MaxLength: m.Config().MaxPositions}
			var questions []asked
			right := 0
			for _, s := range subjects {
				for _, q := range s.Tests {
					a, err := encode(tok, s.context(q, 2), o)
					if err != nil {
						t.Fatal(err)
					}
					questions = append(questions, a)
					w := want[len(questions)-1]
					best := 0
					for k := range w {
						if w[k] > w[best] {
							best = k
						}
					}
					if best == q.Answer {
						right++
					}
				}
			}
			scores, err := likelihoods(m, questions)
			if err != nil || len(scores) != len(want) {
				t.Fatal(len(scores), err)
			}
			for i := range want {
				for k := range want[i] {
					if math.Abs(scores[i][k]-want[i][k]) > 2e-5*math.Abs(want[i][k]) {
						t.Errorf("question %d, %s: %v, want %v", i, letters[k], scores[i][k], want[i][k])
					}
				}
			}
			r, err := MultipleChoice(context.Background(), m, tok, subjects, o)
			if err != nil {
				t.Fatal(err)
			}
			if r.Total.Questions != 5 || r.Total.Correct != right || r.Subjects["virology"].Questions != 3 || r.Groups["other"].Questions != 3 || len(r.Groups) != 1 {
				t.Errorf("%+v, want %d right", r, right)
			}
		})
	}
}

// For letters of one token, a single pass gives the same as a separate sequence for each.
func TestOnePass(t *testing.T) {
	m, _ := load(t, demo)
	q := []asked{{context: []int32{3, 10, 20, 30}}, {context: []int32{9, 8}}}
	for i := range q {
		for k := range q[i].choices {
			q[i].choices[k] = []int32{int32(40 + 7*k + i)}
		}
	}
	got, err := likelihoods(m, q)
	if err != nil {
		t.Fatal(err)
	}
	want, err := spelled(m, q)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		for k := range want[i] {
			if math.Abs(got[i][k]-want[i][k]) > 1e-5*math.Abs(want[i][k]) {
				t.Errorf("question %d, choice %d: %v, want %v", i, k, got[i][k], want[i][k])
			}
		}
	}
}

// A context that is too long loses its beginning, as in the harness: the last MaxLength tokens
// are computed.
func TestLongQuestion(t *testing.T) {
	_, tok := load(t, demo)
	s := Subject{Name: "x"}
	q := Question{Text: strings.Repeat("word ", 50)}
	whole, err := encode(tok, s.context(q, 0), ChoiceOptions{MaxLength: 10000})
	if err != nil {
		t.Fatal(err)
	}
	cut, err := encode(tok, s.context(q, 0), ChoiceOptions{MaxLength: 30})
	if err != nil {
		t.Fatal(err)
	}
	n := len(cut.choices[0])
	if len(cut.context)+n-1 != 30 || cut.context[0] != whole.context[len(whole.context)-len(cut.context)] {
		t.Errorf("%d tokens of context and %d of choice", len(cut.context), n)
	}
}

func TestPrompt(t *testing.T) {
	subjects, err := ReadMMLU("testdata/mmlu", []string{"virology"})
	if err != nil || len(subjects) != 1 {
		t.Fatal(err)
	}
	want := "The following are multiple choice questions (with answers) about virology.\n\n" +
		"Which letter comes first?\nA. a\nB. b\nC. c\nD. d\nAnswer: A\n\n" +
		"Viruses are seen with\nan electron microscope because they are\nA. small\nB. large\nC. wet, cold\nD. old\nAnswer:"
	if got := subjects[0].context(subjects[0].Tests[1], 1); got != want {
		t.Errorf("%q", got)
	}
	if n := len(groups); n != 57 {
		t.Errorf("%d subjects in groups", n)
	}
}

// Each refusal names the file or subject.
func TestRefusals(t *testing.T) {
	m, tok := load(t, demo)
	subjects, err := ReadMMLU("testdata/mmlu", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, shots := MultipleChoice(context.Background(), m, tok, subjects, ChoiceOptions{Shots: 3, MaxLength: 256})
	_, empty := ReadMMLU(t.TempDir(), nil)
	_, unknown := ReadMMLU("testdata/mmlu", []string{"virolgy"})
	bad := func(text string) error {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "test"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "test", "x_test.csv"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := ReadMMLU(dir, nil)
		return err
	}
	for want, err := range map[string]error{
		"subject made_up: 3 answered questions are asked for and dev has 2": shots,
		"has no test/SUBJECT_test.csv":                                      empty,
		`has no subject "virolgy"; there are made_up, virology`:             unknown,
		`x_test.csv, question 1: the answer is "answer"; A, B, C or D`:      bad("question,A,B,C,D,answer\n"),
		"x_test.csv: question, A, B, C, D and the answer's letter":          bad("a,b\n"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

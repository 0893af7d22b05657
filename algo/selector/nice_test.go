package selector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/reward"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/decoder"
)

// letters are the tokens 0 … 38; 39 ends an answer.
const letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:"

// smallTokenizer has one token per character.
func smallTokenizer(t *testing.T, dir string) *tokenizer.Tokenizer {
	t.Helper()
	vocab := map[string]int{"</s>": 39}
	for i, r := range letters {
		vocab[string(r)] = i
	}
	for name, v := range map[string]any{
		"tokenizer.json": map[string]any{
			"version": "1.0", "added_tokens": []map[string]any{{"id": 39, "content": "</s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}},
			"normalizer": nil, "pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
			"post_processor": nil, "decoder": map[string]any{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
			"model": map[string]any{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []string{}},
		},
		"tokenizer_config.json": map[string]any{"eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"},
	} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// talking is a run with prompts and a tokenizer.
func talking(t *testing.T, evalRows int) *algo.Run {
	t.Helper()
	eval := rows(evalRows, 1, 2)
	for i := range eval {
		for j := range 3 {
			eval[i].Labels[j] = data.IgnoreIndex
		}
	}
	run := whole(t, rows(20, 5, 1), eval)
	run.Tokenizer = smallTokenizer(t, t.TempDir())
	return run
}

// byLetter rewards answers by the share of one letter in them.
type byLetter string

func (l byLetter) Score(_ context.Context, cases []reward.Case) ([]float64, error) {
	out := make([]float64, len(cases))
	for i, c := range cases {
		out[i] = float64(strings.Count(c.Answer, string(l))) / float64(max(1, len(c.Answer)))
	}
	return out, nil
}

func niceOf(t *testing.T, run *algo.Run, params ...string) *nice {
	t.Helper()
	all := append([]string{"reward: exact_match", "projection: none", "cache_dir: " + t.TempDir(), "max_new_tokens: 6"}, params...)
	return mustBuild(t, run, "nice", "faithful", all...).(*nice)
}

// The targets are policy gradients by their definition, answer by answer.
func TestNICEPolicyGradient(t *testing.T) {
	for _, baseline := range []string{"none", "leave_one_out"} {
		run := talking(t, 3)
		s := niceOf(t, run, "mc_samples: 5", "baseline: "+baseline)
		s.reward = byLetter("a")
		r := algo.Request{Step: 4, Update: 1, N: 5}
		questions, err := s.questions()
		if err != nil {
			t.Fatal(err)
		}
		answers, rewards, err := s.answers(context.Background(), questions, r)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, s.projection.Dim())
		for row := range run.Eval {
			g := make([]float64, len(want))
			for k := row * 5; k < row*5+5; k++ {
				b := 0.0
				if baseline == "leave_one_out" {
					for j := row * 5; j < row*5+5; j++ {
						if j != k {
							b += rewards[j] / 4
						}
					}
				}
				for i, x := range logGradient(t, run, answers[k]) {
					g[i] += (rewards[k] - b) / 5 * x
				}
			}
			if inner(g, g) == 0 {
				t.Fatalf("row %d earned nothing: the test says nothing", row)
			}
			for i, x := range unit(g) {
				want[i] += x / 3
			}
		}
		compare(t, "target", policyTarget(t, s, r, 0), want, 2e-5)
	}
}

// policyTarget is the target of a subtask.
func policyTarget(t *testing.T, s *nice, r algo.Request, task int) []float64 {
	t.Helper()
	mean, _, err := s.policyMean(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	v, err := mean(context.Background(), task)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// logGradient is ∇ -log p(answer | prompt), one backward pass.
func logGradient(t *testing.T, run *algo.Run, a answer) []float64 {
	t.Helper()
	m := batch.Pack([]data.Example{a.example(data.ID{})}, []int{0})
	if _, err := run.Model.Backward(m.Batch, decoder.Objective{}); err != nil {
		t.Fatal(err)
	}
	var g []float64
	for _, p := range run.Model.Trainable() {
		for _, x := range p.Grad.Host() {
			g = append(g, float64(x))
		}
		clear(p.Grad.Host())
	}
	return g
}

// A step along the negative target raises the reward.
func TestNICERaisesTheReward(t *testing.T) {
	run := talking(t, 2)
	s := niceOf(t, run, "mc_samples: 150", "baseline: leave_one_out", "top_k: 0", "top_p: 1")
	s.reward = byLetter("b")
	r := algo.Request{Step: 4}
	mean := func() float64 {
		questions, err := s.questions()
		if err != nil {
			t.Fatal(err)
		}
		_, rewards, err := s.answers(context.Background(), questions, r)
		if err != nil {
			t.Fatal(err)
		}
		var sum float64
		for _, x := range rewards {
			sum += x
		}
		return sum / float64(len(rewards))
	}
	before := mean()
	target := policyTarget(t, s, r, 0)
	at := 0
	for _, p := range run.Model.Trainable() {
		for i := range p.Data.Host() {
			p.Data.Host()[i] -= 2 * float32(target[at])
			at++
		}
	}
	if after := mean(); after < 1.5*before {
		t.Errorf("mean reward %v before a step, %v after", before, after)
	}
}

// Without any reward the references are used; without these, too, it is an error that says what
// to do.
func TestNICEFallback(t *testing.T) {
	run := talking(t, 3)
	r := algo.Request{Step: 4, Update: 1, N: 5}
	sel := selected(t, niceOf(t, run, "mc_samples: 2"), r) // no answer matches exactly
	want := adamDirections(run, gradients(t, run, run.Train))
	eval := gradients(t, run, run.Eval)
	compare(t, "score by references", sel.Score, meanCosines(want, eval, []int{0, 1, 2}), 2e-4)
	_, err := niceOf(t, run, "mc_samples: 2", "fallback: none").Select(context.Background(), r)
	if err == nil || !strings.Contains(err.Error(), "fallback: reference") {
		t.Errorf("error %v", err)
	}
}

// Two evaluation rows whose texts differ have different gradients, in both modes.
func TestRegression02NICEGradientsDiffer(t *testing.T) {
	run := talking(t, 2)
	run.Subtasks = []string{"a", "b"} // a separate target for each row
	run.Questions = []algo.Question{{Prompt: []int32{1, 2}, Instruction: "add", Reference: "a"}, {Prompt: []int32{3}, Instruction: "sum", Reference: "b"}}
	folder := algotest.Model(t, 3, modelKeys)
	smallTokenizer(t, folder)
	cache := "cache_dir: " + t.TempDir()
	for mode, s := range map[string]algo.Selector{
		"faithful": mustBuild(t, run, "nice", "faithful", cache, "reward: contains", "proj_dim: 256", "max_new_tokens: 6"),
		"upstream": mustBuild(t, run, "nice", "upstream", cache, "reward: contains", "proj_dim: 256", "max_new_tokens: 6", "projection: rademacher",
			"policy_model_path: "+folder, "prompt_template: '{instruction}:{input}'"),
	} {
		s := s.(*nice)
		s.reward = byLetter("")     // every answer has a positive reward
		s.tasks = [][]int{{0}, {1}} // upstream has one target for all
		first, second := policyTarget(t, s, algo.Request{Step: 4}, 0), policyTarget(t, s, algo.Request{Step: 4}, 1)
		var cosine, a, b float64
		for i, x := range first {
			cosine, a, b = cosine+x*second[i], a+x*x, b+second[i]*second[i]
		}
		if !(cosine/math.Sqrt(a*b) < 0.99) {
			t.Errorf("%s: the gradients of the two rows have cosine %v", mode, cosine/math.Sqrt(a*b))
		}
	}
}

// Prompts come from the raw rows, else from the tokens before the first label; an empty one is
// refused.
func TestNICEPrompts(t *testing.T) {
	run := talking(t, 2)
	s := niceOf(t, run, "mc_samples: 2")
	questions, err := s.questions()
	if err != nil {
		t.Fatal(err)
	}
	for i, q := range questions {
		if !slices.Equal(q.Prompt, run.Eval[i].InputIDs[:3]) || len(q.Reference) == 0 {
			t.Errorf("row %d: prompt %v, reference %q", i, q.Prompt, q.Reference)
		}
	}
	run.Eval[1].Labels[0] = run.Eval[1].InputIDs[0] // as train_on_prompt leaves it
	if _, err := s.questions(); err == nil || !strings.Contains(err.Error(), "train_on_prompt") {
		t.Errorf("a row without a prompt: %v", err)
	}
	upstream := mustBuild(t, run, "nice", "upstream", "reward: numeric", "policy_model_path: /models/x").(*nice)
	if _, err := upstream.questions(); err == nil || !strings.Contains(err.Error(), "raw text") {
		t.Errorf("upstream without the raw rows: %v", err)
	}
	run.Questions = []algo.Question{{Prompt: []int32{1}, Reference: "a"}, {}}
	if _, _, err := s.policyMean(context.Background(), algo.Request{}); err == nil || !strings.Contains(err.Error(), "row 1 of pool has an empty prompt") {
		t.Errorf("an empty prompt: %v", err)
	}
}

// In faithful mode adam and sgd differ; upstream's adam is sgd.
func TestRegression01NICEGradientType(t *testing.T) {
	run := talking(t, 2)
	run.Questions = []algo.Question{{Prompt: []int32{1, 2}, Instruction: "add", Reference: "a"}, {Prompt: []int32{3}, Instruction: "sum", Reference: "b"}}
	folder := algotest.Model(t, 3, modelKeys)
	smallTokenizer(t, folder)
	score := func(mode, gradient string, more ...string) []float64 {
		params := append([]string{"reward: contains", "cache_dir: " + t.TempDir(), "proj_dim: 512", "projection: rademacher", "max_new_tokens: 6", "mc_samples: 8", "gradient_type: " + gradient}, more...)
		s := mustBuild(t, run, "nice", mode, params...).(*nice)
		s.reward = byLetter("c")
		return selected(t, s, algo.Request{Step: 4, N: 2}).Score
	}
	if slices.Equal(score("faithful", "adam"), score("faithful", "sgd")) {
		t.Error("faithful: adam is sgd")
	}
	policy := []string{"policy_model_path: " + folder, "prompt_template: '{instruction}:{input}'"}
	if !slices.Equal(score("upstream", "adam", policy...), score("upstream", "sgd", policy...)) {
		t.Error("upstream: adam is not sgd")
	}
}

func TestNICERefusals(t *testing.T) {
	run := talking(t, 2)
	for _, c := range []struct {
		mode   string
		params []string
		want   string
	}{
		{"faithful", []string{"seed: 1"}, "choose how answers are judged"},
		{"faithful", []string{"reward_model_backend: local_vllm"}, "reward: http"},
		{"faithful", []string{"reward_model_path: /models/rm"}, "no such model folder"},
		{"faithful", []string{"reward: reward_model"}, "folder of a sequence classifier"},
		{"faithful", []string{"reward_model_path: /models/rm", "reward_prompt_with_ref: x"}, "mode: upstream"},
		{"upstream", []string{"reward_model_path: /models/rm", "reward_template: llama3"}, "not a template"},
		{"faithful", []string{"reward: bleu"}, `not "bleu"`},
		{"faithful", []string{"reward: command"}, "the program to run"},
		{"faithful", []string{"reward: http"}, "chat completions"},
		{"faithful", []string{"reward: http", "reward_url: 'http://x'", "reward_key_env: DATAFLEX_NO_SUCH_KEY"}, "DATAFLEX_NO_SUCH_KEY"},
		{"faithful", []string{"reward_model_backend: api", "reward_backend_params: {api: {api_url: 'http://x', api_kee: K}}"}, "api_kee"},
		{"faithful", []string{"reward: numeric", "mc_samples: 1", "baseline: leave_one_out"}, "two answers"},
		{"faithful", []string{"reward: numeric", "policy_model_path: /models/x"}, "mode: upstream"},
		{"upstream", []string{"reward: numeric"}, "name its folder"},
	} {
		if _, err := build(t, run, "nice", c.mode, c.params...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v does not say %q", c.params, err, c.want)
		}
	}
	t.Setenv("DF_API_KEY", "secret")
	s := mustBuild(t, run, "nice", "faithful", "reward_model_backend: api", "reward_backend_params: {api: {api_url: 'http://x', api_key: DF_API_KEY, model_name: gpt-4o, temperature: 0.0}, local_vllm: {vllm_top_k: 40}}").(*nice)
	if h, ok := s.reward.(reward.HTTP); !ok || h.Key != "secret" || h.Model != "gpt-4o" || s.Reuse() {
		t.Errorf("upstream's api backend became %+v", s.reward)
	}
}

// A judge that fails ends the selection.
func TestNICEJudgeFails(t *testing.T) {
	s := niceOf(t, talking(t, 2), "mc_samples: 2")
	s.reward = failing{}
	if _, err := s.Select(context.Background(), algo.Request{Key: strings.Repeat("k", 64), N: 1}); !errors.Is(err, errJudge) {
		t.Errorf("error %v", err)
	}
}

// A judge that fails in the middle of a selection is not asked again for what it has answered.
func TestNICEKeepsAnswers(t *testing.T) {
	var asked atomic.Int32
	judge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 3 {
			http.Error(w, "out of credit", http.StatusPaymentRequired)
			return
		}
		fmt.Fprint(w, `{"choices": [{"message": {"content": "0.5"}}]}`)
	}))
	defer judge.Close()
	s := niceOf(t, talking(t, 2), "mc_samples: 2")
	s.reward = reward.HTTP{URL: judge.URL, Timeout: 10 * time.Second}
	r := algo.Request{Key: strings.Repeat("k", 64), N: 1}
	if _, err := s.Select(context.Background(), r); err == nil || !strings.Contains(err.Error(), "out of credit") {
		t.Fatalf("error %v", err)
	}
	for range 2 {
		if _, err := s.Select(context.Background(), r); err != nil || asked.Load() != 5 {
			t.Errorf("after a failure at the third of four answers, %d questions, %v", asked.Load(), err)
		}
	}
}

var errJudge = errors.New("the judge is gone")

type failing struct{}

func (failing) Score(context.Context, []reward.Case) ([]float64, error) { return nil, errJudge }

func TestLeaveOneOut(t *testing.T) {
	s := &nice{samples: 3, baseline: true}
	a := make([]answer, 3)
	s.weigh(a, []float64{1, 0, 0.5})
	for k, want := range []float64{(1 - 0.25) / 3, (0 - 0.75) / 3, 0} {
		if math.Abs(a[k].weight-want) > 1e-15 {
			t.Errorf("answer %d weighs %v, want %v", k, a[k].weight, want)
		}
	}
}

package selector

import (
	"context"
	"errors"
	"fmt"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/reward"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/generate"
)

func init() { algo.RegisterSelector("nice", newNICE) }

// NICE: Data Selection for Instruction Tuning in LLMs with Non-differentiable Evaluation Metric
// (Wang et al., ICML 2025). Rows are scored as in LESS, but the evaluation rows' gradients are
// policy gradients: answers y are generated, scored by a reward R, and
//
//	g(z') = mean over the answers of (R(y) - b) · ∇ -log p(y | z')
//
// so that descending along it raises the expected reward.
//
// faithful: 20 answers of the model being trained, sampled at temperature 1.2 with top_k 50 and
// top_p 0.95; the run's chat template; b = 0, or the mean reward of the other answers
// (`baseline: leave_one_out`). A row none of whose answers has a positive reward is represented
// by its reference answer with reward 1 (`fallback: none`: its gradient is 0). Training rows as
// in LESS.
// upstream: 4 answers of the model in `policy_model_path`, at temperature 0.7, from
// `prompt_template` over the row's instruction and input; raw gradients of the training rows,
// whatever gradient_type says; no fallback. Upstream's prompts for tokenised rows are all
// empty, which is not reproduced: rows without their raw text are refused.
type nice struct {
	*less
	reward   reward.Reward
	remote   bool // the reward may give other results at another time
	samples  int
	generate generate.Options
	longest  int // maximum tokens of a prompt; longer ones lose their beginning
	template string
	baseline bool
	fallback bool

	policyDir string // upstream's generating model; "" = the model being trained
}

func newNICE(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	d := influenceDefaults{name: "nice", dim: 8192, seed: defaultSeed, cacheDir: "cache/nice", plain: mode == algo.Upstream}
	base, err := newInfluence(run, mode, p, d)
	if err != nil {
		return nil, err
	}
	s := &nice{less: &less{influence: base}}
	s.target = s.policyMean
	upstream := mode == algo.Upstream
	samples, temperature, topK, topP, fallback := 20, 1.2, 50, 0.95, "reference"
	if upstream {
		samples, temperature, topK, topP, fallback = 4, 0.7, 50, 1, "none" // 50 is transformers' default top_k
	}
	s.samples = p.Int("mc_samples", samples)
	s.generate = generate.Options{
		MaxNewTokens: p.Int("max_new_tokens", 512), Temperature: p.Float("generation_temperature", temperature),
		TopK: p.Int("top_k", topK), TopP: p.Float("top_p", topP),
	}
	s.longest, s.template = p.Int("max_prompt_length", 4096), p.String("prompt_template", defaultPolicyPrompt)
	baseline := p.String("baseline", "none")
	fallback = p.String("fallback", fallback)
	s.policyDir = p.Model("policy_model_path")
	if s.reward, s.remote, err = newReward(run, mode, p); err != nil {
		return nil, err
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	s.baseline, s.fallback = baseline == "leave_one_out", fallback == "reference"
	return s, s.check(p, baseline, fallback)
}

// Cost is the gradients of every row and every answer, and generating the answers.
func (s *nice) Cost() algo.Cost {
	n := s.samples * s.generate.MaxNewTokens
	return algo.Cost{Gradient: float64(s.groups()), EvalGradient: float64(s.samples), Generated: n}
}

// defaultPolicyPrompt asks for an answer; {instruction} and {input} are replaced by the row's
// fields.
const defaultPolicyPrompt = "Follow the instruction. Use the input, if there is one.\n\nInstruction:\n{instruction}\n\nInput:\n{input}\n\nResponse:\n"

func (s *nice) check(p *config.Params, baseline, fallback string) error {
	switch {
	case s.samples < 1:
		return p.Wrap("mc_samples", fmt.Errorf("at least one answer is needed, not %d", s.samples))
	case s.generate.MaxNewTokens < 1:
		return p.Wrap("max_new_tokens", fmt.Errorf("at least one token, not %d", s.generate.MaxNewTokens))
	case s.longest < 1:
		return p.Wrap("max_prompt_length", fmt.Errorf("at least one token, not %d", s.longest))
	case baseline != "none" && baseline != "leave_one_out":
		return p.Wrap("baseline", fmt.Errorf("none or leave_one_out, not %q", baseline))
	case fallback != "none" && fallback != "reference":
		return p.Wrap("fallback", fmt.Errorf("reference or none, not %q", fallback))
	case s.baseline && s.samples == 1:
		return p.Wrap("baseline", errors.New("leave_one_out needs two answers or more: raise mc_samples"))
	case s.run.Tokenizer == nil:
		return p.Wrap("name", errors.New("nice decodes what is generated, but the run has no tokenizer"))
	case s.mode == algo.Upstream && s.policyDir == "":
		return p.Wrap("policy_model_path", errors.New("mode upstream generates with a model of its own: name its folder"))
	case s.mode == algo.Faithful && s.policyDir != "":
		return p.Wrap("policy_model_path", errors.New("mode faithful generates with the model being trained: leave this out, or set mode: upstream"))
	}
	return nil
}

// NeedsQuestions reports that the prompts of the evaluation rows are needed.
func (s *nice) NeedsQuestions() bool { return true }

// Reuse is off where the key does not cover everything that the choice depends on.
func (s *nice) Reuse() bool { return !s.remote && s.policyDir == "" }

// answer is a generated answer to evaluation row row.
type answer struct {
	row    int
	prompt []int32
	tokens []int32
	weight float64 // of ∇ -log p in the row's gradient
}

// policyMean generates and scores answers, from which it computes the subtasks' mean unit
// policy gradients.
func (s *nice) policyMean(ctx context.Context, r algo.Request) (meanOf, string, error) {
	questions, err := s.questions()
	if err != nil {
		return nil, "", err
	}
	answers, rewards, err := s.answers(ctx, questions, r)
	if err != nil {
		return nil, "", err
	}
	s.weigh(answers, rewards)
	answers, unanswered := s.fallBack(answers, questions)
	var total float64
	for _, x := range rewards {
		total += x
	}
	s.run.Log.Info("nice: answers judged", "step", r.Step, "rows", len(questions), "answers", len(rewards), "mean_reward", total/float64(len(rewards)), "rows_without_reward", unanswered, "by_reference", s.fallback && unanswered > 0)
	if len(answers) == 0 {
		return nil, "", fmt.Errorf("none of the %d answers earned a reward, so that there is no gradient: set fallback: reference, raise mc_samples or begin later (warmup_step)", len(rewards))
	}
	byRow := map[int][]answer{}
	for _, a := range answers {
		byRow[a.row] = append(byRow[a.row], a)
	}
	return func(ctx context.Context, task int) ([]float64, error) {
		mean := make([]float64, s.projection.Dim())
		for _, row := range s.tasks[task] {
			g, err := s.policyGradient(ctx, byRow[row])
			if err != nil {
				return nil, fmt.Errorf("generated answers: %w", err)
			}
			addUnit(mean, g)
		}
		for j := range mean {
			mean[j] /= float64(len(s.tasks[task]))
		}
		return mean, nil
	}, fmt.Sprint("rewards ", rewards), nil
}

// questions are the prompts of the evaluation rows: from the raw rows where the run has them,
// else the tokens before the first label.
func (s *nice) questions() ([]algo.Question, error) {
	switch {
	case s.run.Questions != nil && len(s.run.Questions) != len(s.run.Eval):
		return nil, fmt.Errorf("%d questions for %d evaluation rows", len(s.run.Questions), len(s.run.Eval))
	case s.run.Questions != nil:
		return s.run.Questions, nil
	case s.mode == algo.Upstream:
		return nil, errors.New("mode upstream makes its prompts from the rows' raw text, which was not stored; from tokenised rows every prompt would be empty")
	}
	out := make([]algo.Question, len(s.run.Eval))
	for i, ex := range s.run.Eval {
		var reference []int32
		n := len(ex.InputIDs)
		for t, l := range ex.Labels {
			if l >= 0 {
				n = min(n, t)
				reference = append(reference, l)
			}
		}
		if n == 0 || reference == nil {
			return nil, fmt.Errorf("row %d of %s has no prompt before its answer: with train_on_prompt the two cannot be separated", ex.Row, ex.Dataset)
		}
		out[i] = algo.Question{
			Prompt: ex.InputIDs[:n], Instruction: s.run.Tokenizer.Decode(ex.InputIDs[:n], true), Reference: s.run.Tokenizer.Decode(reference, true),
		}
	}
	return out, nil
}

// answers generates and scores answers: answer j of row i has the index i·samples+j.
func (s *nice) answers(ctx context.Context, questions []algo.Question, r algo.Request) ([]answer, []float64, error) {
	model, tok, stop, err := s.policy()
	if err != nil {
		return nil, nil, err
	}
	if model != s.run.Model {
		defer model.Close()
	}
	var out []answer
	var prompts [][]int32
	for i, q := range questions {
		prompt := s.prompt(tok, q)
		if len(prompt) == 0 {
			return nil, nil, fmt.Errorf("row %d of %s has an empty prompt", s.run.Eval[i].Row, s.run.Eval[i].Dataset)
		}
		for range s.samples {
			out, prompts = append(out, answer{row: i, prompt: prompt}), append(prompts, prompt)
		}
	}
	o := s.generate
	o.Stop, o.Seed = stop, s.seed+uint64(r.Step)
	texts, err := generate.Generate(ctx, model, prompts, o)
	if err != nil {
		return nil, nil, err
	}
	cases := make([]reward.Case, len(out))
	for k, tokens := range texts {
		q := questions[out[k].row]
		cases[k] = reward.Case{Prompt: asked(q), Reference: q.Reference, Answer: tok.Decode(tokens, true), Instruction: q.Instruction, Input: q.Input}
		if len(tokens) < o.MaxNewTokens && len(stop) > 0 {
			tokens = append(tokens[:len(tokens):len(tokens)], stop[0]) // the end token is part of the answer
		}
		out[k].tokens = tokens
	}
	rewards, err := s.judged(ctx, cases, r)
	return out, rewards, err
}

// judged is the rewards of the answers. Those of a program or a judge are kept beside the
// selection as they come, so that an attempt that fails loses none.
func (s *nice) judged(ctx context.Context, cases []reward.Case, r algo.Request) ([]float64, error) {
	keeper, ok := s.reward.(reward.Keeper)
	if !ok || s.dir == "" || r.Key == "" {
		return s.reward.Score(ctx, cases)
	}
	kept := reward.KeepIn(s.dir, r.Key, s.run.Log)
	rewards, err := keeper.Keep(kept).Score(ctx, cases)
	return rewards, errors.Join(err, kept.Close())
}

func asked(q algo.Question) string {
	if q.Input == "" {
		return q.Instruction
	}
	return q.Instruction + "\n" + q.Input
}

// policy is the generating model, its tokenizer, and the tokens that end its answers.
func (s *nice) policy() (*decoder.Model, *tokenizer.Tokenizer, []int32, error) {
	if s.policyDir == "" {
		stop := s.run.Stop
		if stop == nil {
			stop = endOf(s.run.Tokenizer)
		}
		return s.run.Model, s.run.Tokenizer, stop, nil
	}
	tok, err := tokenizer.Load(s.policyDir)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("policy model: %w", err)
	}
	m, err := decoder.Load(s.run.Device, s.policyDir, decoder.Options{})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("policy model: %w", err)
	}
	return m, tok, endOf(tok), nil
}

func endOf(tok *tokenizer.Tokenizer) []int32 {
	if _, id, ok := tok.EOS(); ok {
		return []int32{id}
	}
	return nil
}

// prompt is a question's tokens: the run's own, or those of upstream's template. A long prompt
// loses its beginning, because the answer follows its end.
func (s *nice) prompt(tok *tokenizer.Tokenizer, q algo.Question) []int32 {
	ids := q.Prompt
	if s.mode == algo.Upstream {
		input := q.Input
		if input == "" {
			input = "No additional input."
		}
		ids = tok.EncodeSpecial(fill(s.template, "{instruction}", q.Instruction, "{input}", input))
	}
	return ids[max(0, len(ids)-s.longest):]
}

// weigh computes the weights of the gradients from the rewards: (R-b)/samples.
func (s *nice) weigh(answers []answer, rewards []float64) {
	for first := 0; first < len(answers); first += s.samples {
		var sum float64
		for _, x := range rewards[first : first+s.samples] {
			sum += x
		}
		for k := first; k < first+s.samples; k++ {
			answers[k].weight = rewards[k]
			if s.baseline {
				answers[k].weight -= (sum - rewards[k]) / float64(s.samples-1)
			}
			answers[k].weight /= float64(s.samples)
		}
	}
}

// fallBack drops answers with weight 0, and if configured represents rows without any answers
// by their reference. unanswered is the number of such rows.
func (s *nice) fallBack(answers []answer, questions []algo.Question) (kept []answer, unanswered int) {
	answered := make([]bool, len(questions))
	for _, a := range answers {
		if a.weight != 0 && len(a.tokens) > 0 {
			kept = append(kept, a)
			answered[a.row] = true
		}
	}
	for i, ok := range answered {
		if ok {
			continue
		}
		unanswered++
		if tokens := s.run.Tokenizer.Encode(questions[i].Reference); s.fallback && len(tokens) > 0 {
			kept = append(kept, answer{row: i, prompt: questions[i].Prompt, tokens: tokens, weight: 1})
		}
	}
	return kept, unanswered
}

// policyGradient sums the gradients of a row's answers. A row without answers has gradient 0.
func (s *nice) policyGradient(ctx context.Context, answers []answer) ([]float32, error) {
	dim := s.projection.Dim()
	sum := make([]float32, dim)
	examples := make([]data.Example, len(answers))
	for k, a := range answers {
		examples[k] = a.example(s.run.Eval[a.row].ID)
	}
	pass := s.pass(s.projection, nil, nil)
	pass.Rows = s.rowsHeld()
	return sum, feature.Gradients(ctx, pass, examples, 0, func(rows []int, z []float32, _ []float64) error {
		for i, k := range rows {
			// z is the gradient of the mean over the answer's tokens, while -log p is their
			// sum.
			w := float32(answers[k].weight * float64(len(answers[k].tokens)))
			for j, x := range z[i*dim : (i+1)*dim] {
				sum[j] += w * x
			}
		}
		return nil
	})
}

// example is prompt and answer as a row whose answer is labelled.
func (a answer) example(id data.ID) data.Example {
	ex := data.Example{ID: id}
	ex.InputIDs = append(append(ex.InputIDs, a.prompt...), a.tokens...)
	ex.Labels = append(data.Unlabelled(len(a.prompt)), a.tokens...)
	return ex
}

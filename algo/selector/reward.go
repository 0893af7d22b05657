package selector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/program"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/reward"
)

// newReward returns the reward that a component configures. remote reports that its results can
// change without a change of the selection's key, so that selections must not be reused.
//
//	reward: exact_match | contains | numeric
//	reward: reward_model   reward_model_path, reward_template (upstream: reward_prompt_with_ref and
//	                       reward_prompt_without_ref), reward_max_length (tokens)
//	reward: command   reward_command, reward_timeout (seconds, for all answers of a selection)
//	reward: http      reward_url, reward_model, reward_key_env, reward_temperature,
//	                  reward_prompt, reward_timeout (per answer), reward_retries
//
// Without `reward`, upstream's reward_model_path is read as reward_model, and its
// reward_model_backend: api with its reward_backend_params as http.
func newReward(run *algo.Run, mode algo.Mode, p *config.Params) (r reward.Reward, remote bool, err error) {
	q, err := readReward(p)
	if err != nil {
		return nil, false, err
	}
	switch q.kind {
	case "exact_match":
		return reward.ExactMatch, false, nil
	case "contains":
		return reward.Contains, false, nil
	case "numeric":
		return reward.Numeric, false, nil
	case "reward_model":
		r, err = newRewardModel(run, mode, p, q.folder, q.model, q.texts)
		return r, true, err // the folder's content is not part of the selection's key
	case "command":
		r, err = newRewardCommand(run, p, q)
		return r, true, err
	case "http":
		r, err = newJudge(run, p, q)
		return r, true, err
	case "":
		return nil, false, p.Wrap("reward", fmt.Errorf("choose how answers are judged: exact_match, contains, numeric, reward_model (reward_model_path), command (reward_command) or http (reward_url, reward_model)%s", instead(q.backend)))
	}
	return nil, false, p.Wrap("reward", fmt.Errorf("a reward is exact_match, contains, numeric, reward_model, command or http, not %q", q.kind))
}

// rewardParams are the parameters of all rewards; kind says which one is wanted.
type rewardParams struct {
	kind    string
	backend string // upstream's reward_model_backend
	command []string
	timeout time.Duration
	judge   reward.HTTP
	keyName string // the environment variable with the judge's key
	folder  string // of the reward model
	model   reward.ModelOptions
	texts   reward.Texts
}

// readReward reads the parameters, upstream's names for them included.
func readReward(p *config.Params) (q rewardParams, err error) {
	q.kind = p.String("reward", "")
	q.command = p.Strings("reward_command", nil)
	q.timeout = time.Duration(p.Float("reward_timeout", 600) * float64(time.Second))
	q.judge = reward.HTTP{
		URL: p.String("reward_url", ""), Model: p.String("reward_model", ""), Temperature: p.Float("reward_temperature", 0),
		Prompt: p.String("reward_prompt", ""), Timeout: q.timeout, Retries: p.Int("reward_retries", 5), Wait: time.Second,
	}
	q.keyName = p.String("reward_key_env", "")
	q.backend = p.String("reward_model_backend", "")
	backends := p.Map("reward_backend_params", nil)
	q.texts = reward.Texts{With: p.String("reward_prompt_with_ref", ""), Without: p.String("reward_prompt_without_ref", "")}
	q.model = reward.ModelOptions{Template: p.String("reward_template", ""), Longest: p.Int("reward_max_length", 4096)}
	q.folder = p.String("reward_model_path", "")
	if err := p.Err(); err != nil {
		return q, err
	}
	if q.timeout <= 0 {
		return q, p.Wrap("reward_timeout", errors.New("a timeout in seconds must be positive"))
	}
	if q.kind == "" && q.folder != "" {
		q.kind = "reward_model"
	}
	if q.kind == "" && q.backend == "api" {
		q.kind = "http"
		if err := fromUpstream(&q.judge, &q.keyName, backends); err != nil {
			return q, p.Wrap("reward_backend_params", err)
		}
	}
	return q, nil
}

// newRewardCommand returns a user's program as the reward.
func newRewardCommand(run *algo.Run, p *config.Params, q rewardParams) (reward.Reward, error) {
	if len(q.command) == 0 {
		return nil, p.Wrap("reward_command", errors.New("reward: command needs the program to run"))
	}
	if err := program.Find(q.command); err != nil {
		return nil, p.Wrap("reward_command", err)
	}
	say := func(line string) { run.Log.Info(line, "program", q.command[0]) }
	return askOnce(reward.Command{Args: q.command, Timeout: q.timeout, Stderr: say}, run), nil
}

// newJudge returns a judge behind an HTTP endpoint. A run that is only checked also checks that
// the endpoint can be reached.
func newJudge(run *algo.Run, p *config.Params, q rewardParams) (r reward.Reward, err error) {
	judge := q.judge
	if judge.URL == "" {
		return nil, p.Wrap("reward_url", errors.New("reward: http needs the address of a chat completions endpoint"))
	}
	if judge.Key, err = keyFrom(q.keyName); err != nil {
		return nil, p.Wrap("reward_key_env", err)
	}
	if run.Outline {
		at := "reward_url"
		if !p.Given(at) {
			at = "reward_backend_params"
		}
		err = p.Wrap(at, judge.Reach(context.Background()))
	}
	return askOnce(judge, run), err
}

// rankZero is a reward from outside this process, which only rank 0 asks.
type rankZero struct {
	reward.Reward
	ranks *ranks.Job
}

// askOnce makes rank 0 ask for all ranks, so that all train on the same rewards.
func askOnce(r reward.Reward, run *algo.Run) reward.Reward {
	if run.Ranks.Size() == 1 {
		return r
	}
	return rankZero{r, run.Ranks}
}

// Score returns rank 0's answer on all ranks.
func (o rankZero) Score(ctx context.Context, cases []reward.Case) ([]float64, error) {
	return ranks.Decided(ctx, o.ranks, "the judge's rewards", func(ctx context.Context) ([]float64, error) { return o.Reward.Score(ctx, cases) })
}

// Keep is the same judge, whose answers rank 0 keeps.
func (o rankZero) Keep(k *reward.Kept) reward.Reward {
	if keeper, ok := o.Reward.(reward.Keeper); ok && o.ranks.First() {
		o.Reward = keeper.Keep(k)
	}
	return o
}

// instead names what replaces the backend of upstream's preset, which is not supported.
func instead(backend string) string {
	if backend == "local_vllm" {
		return "; for a model served by vLLM use reward: http"
	}
	return ""
}

// newRewardModel returns a reward model, which rates conversations or, in mode upstream, texts
// in upstream's form.
func newRewardModel(run *algo.Run, mode algo.Mode, p *config.Params, dir string, o reward.ModelOptions, texts reward.Texts) (reward.Reward, error) {
	switch {
	case dir == "":
		return nil, p.Wrap("reward_model_path", errors.New("reward: reward_model needs the folder of a sequence classifier"))
	case o.Longest < 1:
		return nil, p.Wrap("reward_max_length", fmt.Errorf("at least one token, not %d", o.Longest))
	case mode == algo.Upstream && o.Template != "":
		return nil, p.Wrap("reward_template", errors.New("mode upstream uses reward_prompt_with_ref, not a template"))
	case mode == algo.Faithful && texts.With != "":
		return nil, p.Wrap("reward_prompt_with_ref", errors.New("mode faithful uses the reward model's chat template: leave this out, or set mode: upstream"))
	case mode == algo.Faithful && texts.Without != "":
		return nil, p.Wrap("reward_prompt_without_ref", errors.New("mode faithful uses the reward model's chat template: leave this out, or set mode: upstream"))
	}
	if mode == algo.Upstream {
		o.Text = &reward.Texts{With: cmp.Or(texts.With, reward.DefaultTexts.With), Without: cmp.Or(texts.Without, reward.DefaultTexts.Without)}
	}
	dir = p.Model("reward_model_path")
	if err := p.Err(); err != nil {
		return nil, err
	}
	m, err := reward.NewModel(run.Device, dir, o)
	if err != nil {
		return nil, p.Wrap("reward_model_path", err)
	}
	return m, nil
}

// keyFrom reads an API key from the environment, so that no configuration contains one.
func keyFrom(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	if key := os.Getenv(name); key != "" {
		return key, nil
	}
	return "", fmt.Errorf("the environment variable %s, which holds the judge's key, is not set", name)
}

// fromUpstream reads reward_backend_params.api, whose api_key names an environment variable.
func fromUpstream(h *reward.HTTP, keyName *string, backends map[string]any) error {
	api, ok := backends["api"].(map[string]any)
	if !ok {
		return errors.New("api with api_url and model_name is needed")
	}
	for key, v := range api {
		switch s, isText := v.(string); {
		case key == "api_url" && isText:
			h.URL = s
		case key == "model_name" && isText:
			h.Model = s
		case key == "api_key" && isText:
			*keyName = s
		case key == "temperature":
			t, err := number(v)
			if err != nil {
				return fmt.Errorf("temperature: %w", err)
			}
			h.Temperature = t
		default:
			return fmt.Errorf("api has api_url, api_key, model_name and temperature, not %s: %v", key, v)
		}
	}
	return nil
}

func number(v any) (float64, error) {
	switch n := v.(type) {
	case float64:
		return n, nil
	case int:
		return float64(n), nil
	case int64:
		return float64(n), nil
	}
	return 0, fmt.Errorf("%v is not a number", v)
}

// fill replaces placeholders by texts; placeholders inside a text are left alone.
func fill(template string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(template)
}

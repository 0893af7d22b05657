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

// newReward reads the reward that a component configures. remote reports that it may give other
// results at another time, without a change of the selection's key.
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
	kind := p.String("reward", "")
	command := p.Strings("reward_command", nil)
	timeout := time.Duration(p.Float("reward_timeout", 600) * float64(time.Second))
	judge := reward.HTTP{
		URL: p.String("reward_url", ""), Model: p.String("reward_model", ""), Temperature: p.Float("reward_temperature", 0),
		Prompt: p.String("reward_prompt", ""), Timeout: timeout, Retries: p.Int("reward_retries", 5), Wait: time.Second,
	}
	keyName := p.String("reward_key_env", "")
	backend, backends := p.String("reward_model_backend", ""), p.Map("reward_backend_params", nil)
	texts := reward.Texts{With: p.String("reward_prompt_with_ref", ""), Without: p.String("reward_prompt_without_ref", "")}
	asked := reward.ModelOptions{Template: p.String("reward_template", ""), Longest: p.Int("reward_max_length", 4096)}
	model := p.String("reward_model_path", "")
	if err := p.Err(); err != nil {
		return nil, false, err
	}
	if timeout <= 0 {
		return nil, false, p.Wrap("reward_timeout", errors.New("a timeout in seconds must be positive"))
	}
	if kind == "" && model != "" {
		kind = "reward_model"
	}
	if kind == "" && backend == "api" {
		kind = "http"
		if err := fromUpstream(&judge, &keyName, backends); err != nil {
			return nil, false, p.Wrap("reward_backend_params", err)
		}
	}
	switch kind {
	case "exact_match":
		return reward.ExactMatch, false, nil
	case "contains":
		return reward.Contains, false, nil
	case "numeric":
		return reward.Numeric, false, nil
	case "reward_model":
		r, err = newRewardModel(run, mode, p, model, asked, texts)
		return r, true, err // the folder's content is not part of the selection's key
	case "command":
		if len(command) == 0 {
			return nil, false, p.Wrap("reward_command", errors.New("reward: command needs the program to run"))
		}
		if err := program.Find(command); err != nil {
			return nil, false, p.Wrap("reward_command", err)
		}
		say := func(line string) { run.Log.Info(line, "program", command[0]) }
		return outside(reward.Command{Args: command, Timeout: timeout, Stderr: say}, run), true, nil
	case "http":
		if judge.URL == "" {
			return nil, false, p.Wrap("reward_url", errors.New("reward: http needs the address of a chat completions endpoint"))
		}
		if judge.Key, err = keyFrom(keyName); err != nil {
			return nil, false, p.Wrap("reward_key_env", err)
		}
		if run.Outline {
			at := "reward_url"
			if !p.Given(at) {
				at = "reward_backend_params"
			}
			err = p.Wrap(at, judge.Reach(context.Background()))
		}
		return outside(judge, run), true, err
	case "":
		return nil, false, p.Wrap("reward", fmt.Errorf("choose how answers are judged: exact_match, contains, numeric, reward_model (reward_model_path), command (reward_command) or http (reward_url, reward_model)%s", instead(backend)))
	}
	return nil, false, p.Wrap("reward", fmt.Errorf("a reward is exact_match, contains, numeric, reward_model, command or http, not %q", kind))
}

// onceAsked is a judge outside of the program, which only rank 0 asks.
type onceAsked struct {
	reward.Reward
	ranks *ranks.Job
}

// outside makes several ranks ask a judge once.
func outside(r reward.Reward, run *algo.Run) reward.Reward {
	if run.Ranks.Size() == 1 {
		return r
	}
	return onceAsked{r, run.Ranks}
}

// Score returns the judge's answer on all ranks.
func (o onceAsked) Score(ctx context.Context, cases []reward.Case) ([]float64, error) {
	return ranks.Decided(ctx, o.ranks, "the judge's rewards", func(ctx context.Context) ([]float64, error) { return o.Reward.Score(ctx, cases) })
}

// instead says what to use instead of the judge of upstream's shipped preset.
func instead(backend string) string {
	if backend == "local_vllm" {
		return "; for a model served by vLLM use reward: http"
	}
	return ""
}

// newRewardModel rates conversations, or in mode upstream texts in upstream's form.
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

// fill replaces marks by texts; marks inside a text are not replaced.
func fill(template string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(template)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
)

// mixCells pre-train on texts of several domains in the shares chosen by a mixer.
func mixCells(s scale, seed int) []cell {
	var out []cell
	for _, mixer := range s.mixes {
		out = append(out, cell{fmt.Sprintf("mix/%s/seed-%d", mixer, seed), func(ctx context.Context, l *lab) (map[string]float64, error) {
			return l.mixes(ctx, s, seed, mixer)
		}})
	}
	return out
}

func (l *lab) mixes(ctx context.Context, s scale, seed int, mixer string) (map[string]float64, error) {
	all, err := domains(l.options.data, 2*s.texts)
	if err != nil {
		return nil, err
	}
	sets := map[string]any{}
	names := slices.Sorted(maps.Keys(all))
	var held []string
	for _, d := range names {
		half := len(all[d]) / 2
		sets[d], sets[d+"_held"] = all[d][:half], all[d][half:half+max(1, half/4)]
		held = append(held, d+"_held")
	}
	if err := l.sets(sets); err != nil {
		return nil, err
	}
	over := keys{
		"stage": "pt", "dataset": strings.Join(names, ","), "eval_dataset": strings.Join(held, ","), "eval_on_each_dataset": true, "seed": seed, "packing": false,
		"finetuning_type": "full", "learning_rate": 1e-4, "per_device_train_batch_size": min(4, s.micro), "gradient_accumulation_steps": max(1, s.micro/4), "per_device_eval_batch_size": 4,
		"train_type": "dynamic_mix", "warmup_step": max(1, s.mixSteps/6), "update_step": max(1, s.mixSteps/12), "update_times": -1, "train_step": s.mixSteps, "mixture_sample_rule": "mixture",
	}
	component, params := mixer, keys(nil)
	switch mixer {
	case "uniform":
		component = "static"
	case "odm":
		params = keys{"warmup_steps": max(1, s.mixSteps/6)}
	case "doremi":
		if params, err = l.doremi(ctx, seed, over); err != nil {
			return nil, err
		}
		component = "static"
	}
	r, err := l.run(ctx, "run", over, component, params)
	if err != nil {
		return nil, err
	}
	losses, err := r.losses()
	if err != nil {
		return nil, err
	}
	if len(losses) != len(held) {
		return nil, errors.New("not every domain was evaluated")
	}
	values := map[string]float64{"seconds": r.seconds}
	for _, loss := range losses {
		values["worst perplexity"] = max(values["worst perplexity"], math.Exp(loss))
		values["mean perplexity"] += math.Exp(loss) / float64(len(losses))
	}
	return values, nil
}

// doremi runs DoReMi's first two steps: the uniform run is the reference, and a proxy finds the
// shares for the third.
func (l *lab) doremi(ctx context.Context, seed int, over keys) (keys, error) {
	reference := filepath.Join(l.options.out, "runs", "mix", "uniform", fmt.Sprintf("seed-%d", seed), "run")
	proxy, err := l.run(ctx, "proxy", over, "doremi", keys{"reference_model_path": reference})
	if err != nil {
		return nil, err
	}
	var averages struct {
		Weights []float64 `json:"average_weights"`
	}
	if err := readJSON(filepath.Join(proxy.dir, "doremi_average_weights.json"), &averages); err != nil {
		return nil, err
	}
	return keys{"proportions": averages.Weights}, nil
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// contenders are selectors with their parameters, by their name in the table.
var contenders = map[string]struct {
	component string
	params    keys
}{
	"random":          {"random", nil},
	"less":            {"less", nil},
	"less-sgd":        {"less", keys{"gradient_type": "sgd"}},
	"less-rademacher": {"less", keys{"projection": "rademacher", "proj_dim": 4096}},
	"less-sjlt":       {"less", keys{"projection": "sjlt", "proj_dim": 4096}},
	"nice":            {"nice", keys{"reward": "contains", "mc_samples": 4, "max_new_tokens": 24}},
	"icons":           {"icons", nil},
	"cluster_less":    {"cluster_less", keys{"cluster_size": 16}},
	"loss":            {"loss", nil},
	"delta_loss":      {"delta_loss", nil},
	"zeroth":          {"zeroth", nil},
	"coincide":        {"coincide", nil},
}

// selectCells evaluate every selector once after equal steps, and random rows once more after
// the time that each of the others took.
func selectCells(s scale, seed int) []cell {
	var out []cell
	for _, name := range s.selectors {
		id := selectID(name, seed)
		out = append(out, cell{id, func(ctx context.Context, l *lab) (map[string]float64, error) {
			return l.chooses(ctx, s, seed, name, 1)
		}})
		if name == "random" || name == "full" {
			continue
		}
		out = append(out, cell{timeID(name, seed), func(ctx context.Context, l *lab) (map[string]float64, error) {
			windows, err := l.windowsInTime(s, seed, name)
			if err != nil {
				return nil, err
			}
			return l.chooses(ctx, s, seed, "random", windows)
		}})
	}
	return out
}

func selectID(name string, seed int) string { return fmt.Sprintf("select/%s/seed-%d", name, seed) }

// timeID is random rows for as long as a selector took.
func timeID(name string, seed int) string { return fmt.Sprintf("select-time/%s/seed-%d", name, seed) }

// windowsInTime is how many windows of random rows can be trained on in the time of a
// selector's run.
func (l *lab) windowsInTime(s scale, seed int, name string) (int, error) {
	random, err := l.store.read(selectID("random", seed))
	if err != nil {
		return 0, err
	}
	other, err := l.store.read(selectID(name, seed))
	if err != nil {
		return 0, err
	}
	steps := float64(s.warmup+s.steps) * other.Values["seconds"] / random.Values["seconds"]
	return max(1, int(math.Round((steps-float64(s.warmup))/float64(s.steps)))), nil
}

// chooses trains on random rows for the warm-up, and then in windows on the rows that a
// selector chooses for each.
func (l *lab) chooses(ctx context.Context, s scale, seed int, name string, windows int) (map[string]float64, error) {
	steps := s.warmup + windows*s.steps
	p, err := readPool(l.options.data, s.perKind, s.held, seed)
	if err != nil {
		return nil, err
	}
	if err := l.sets(map[string]any{"pool": p.rows, "wanted": p.eval, "target": p.target, "rest": p.rest}); err != nil {
		return nil, err
	}
	over := keys{
		"dataset": "pool", "eval_dataset": "wanted", "seed": seed, "per_device_train_batch_size": min(4, s.micro),
		"gradient_accumulation_steps": max(1, s.micro/4), "per_device_eval_batch_size": 4,
	}
	if name == "full" {
		over["max_steps"] = steps
	} else {
		over["train_type"], over["warmup_step"], over["update_step"], over["update_times"] = "dynamic_select", s.warmup, s.steps, windows
	}
	c := contenders[name]
	r, err := l.run(ctx, "run", over, c.component, c.params)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{"seconds": r.seconds, "selecting": r.choices, "rows per second": r.perSec, "steps": float64(steps)}
	tokens, err := l.held(ctx, r, values)
	if err != nil {
		return nil, err
	}
	values["tokens per second"] = r.perSec * tokens
	if name == "full" {
		return values, nil
	}
	values["precision"], err = precision(r.dir, p)
	return values, err
}

// held measures the losses on the held-out sets, with the adapter of a run, and returns the
// mean number of tokens per row.
func (l *lab) held(ctx context.Context, r ran, values map[string]float64) (tokens float64, err error) {
	after, err := l.run(ctx, "held", keys{
		"do_train": false, "eval_dataset": "target,rest", "eval_on_each_dataset": true, "adapter_name_or_path": r.dir, "per_device_eval_batch_size": 4,
	}, "", nil)
	if err != nil {
		return 0, err
	}
	losses, err := after.losses()
	if err != nil {
		return 0, err
	}
	values["target loss"], values["rest loss"] = losses["target"], losses["rest"]
	var results struct {
		PerSecond float64 `json:"train_tokens_per_second"`
		Rows      float64 `json:"train_samples_per_second"`
	}
	if err := readJSON(filepath.Join(r.dir, "train_results.json"), &results); err != nil {
		return 0, err
	}
	return results.PerSecond / max(results.Rows, 1e-9), nil
}

// precision is the share of the target's kind among the chosen rows.
func precision(dir string, p pool) (float64, error) {
	raw, err := storage.ReadFile(filepath.Join(dir, "selected_rows.jsonl"))
	if err != nil {
		return 0, err
	}
	hits, all := 0, 0
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); all++ {
		var pick struct{ Index int }
		if err := json.Unmarshal(s.Bytes(), &pick); err != nil {
			return 0, err
		}
		if p.rows[pick.Index].Kind == p.eval[0].Kind {
			hits++
		}
	}
	if all == 0 {
		return 0, fmt.Errorf("%s: nothing was chosen", dir)
	}
	return float64(hits) / float64(all), nil
}

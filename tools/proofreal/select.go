package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
)

// contender is a selector with its parameters. It selects once, after the warm-up of the
// experiment, where it does not say otherwise; the steps of a run are the same for all.
type contender struct {
	component       string
	params          keys
	offline         offline // nil for selectors that look at the model while it trains
	warmup, windows int
}

// contenders are those compared, by their name in the table. Those of LESS ask a question each:
// how many steps of warm-up, how many selections, Adam's direction or the gradient's, exact or
// projected.
var contenders = map[string]contender{
	"random":          {component: "random"},
	"full":            {}, // the whole pool in order, without a selector
	"less":            {component: "less"},
	"less-warmup-2":   {component: "less", warmup: 2},
	"less-warmup-16":  {component: "less", warmup: 16},
	"less-twice":      {component: "less", windows: 2},
	"less-four-times": {component: "less", windows: 4},
	"less-sgd":        {component: "less", params: keys{"gradient_type": "sgd"}},
	"less-rademacher": {component: "less", params: keys{"projection": "rademacher", "proj_dim": 4096}},
	"less-sjlt":       {component: "less", params: keys{"projection": "sjlt", "proj_dim": 4096}},
	"nice":            {component: "nice", params: keys{"reward": "contains", "mc_samples": 4, "max_new_tokens": 24}},
	"near":            {component: "near", offline: nearest},
	"tsds":            {component: "tsds", offline: transported},
	"icons":           {component: "icons"},
	"cluster_less":    {component: "cluster_less", params: keys{"cluster_size": 16}},
	"loss":            {component: "loss"},
	"delta_loss":      {component: "delta_loss"},
	"zeroth":          {component: "zeroth"},
	"coincide":        {component: "coincide"},
}

// selectCells evaluate every selector after equal steps, and random rows once more after the
// time that each of the others took.
func selectCells(s scale, seed int) []cell {
	var out []cell
	for _, name := range s.selectors {
		out = append(out, cell{selectID(name, seed), func(ctx context.Context, l *lab) (map[string]float64, error) {
			return l.chooses(ctx, s, seed, name, windowsOf(s, name))
		}})
		if name == "random" || name == "full" {
			continue
		}
		out = append(out, cell{timeID(name, seed), func(ctx context.Context, l *lab) (map[string]float64, error) {
			times, err := l.windowsInTime(s, seed, name)
			if err != nil {
				return nil, err
			}
			return l.chooses(ctx, s, seed, "random", windows{s.warmup, s.steps, times})
		}})
	}
	return out
}

// selectPrefix is what the names of select's cells begin with.
const selectPrefix = "select/"

func selectID(name string, seed int) string {
	return fmt.Sprintf(selectPrefix+"%s/seed-%d", name, seed)
}

// timeID is random rows for as long as a selector took.
func timeID(name string, seed int) string { return fmt.Sprintf("select-time/%s/seed-%d", name, seed) }

// windows are the steps of a run: a warm-up on random rows, then times windows of steps on the
// rows chosen for each.
type windows struct{ warmup, steps, times int }

func (w windows) total() int { return w.warmup + w.times*w.steps }

func windowsOf(s scale, name string) windows {
	c := contenders[name]
	w := windows{warmup: cmp.Or(c.warmup, s.warmup), times: cmp.Or(c.windows, 1)}
	w.steps = (s.warmup + s.steps - w.warmup) / w.times
	return w
}

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

// selection is a run's pool, and the configuration with which a contender trains on it.
func (l *lab) selection(s scale, seed int, name string, w windows) (p pool, over keys, err error) {
	if p, err = readPool(l.options.data, s.perKind, s.held, seed); err != nil {
		return p, nil, err
	}
	if err := l.sets(map[string]any{"pool": p.rows, "wanted": p.eval, "target": p.target, "rest": p.rest}); err != nil {
		return p, nil, err
	}
	over = keys{
		"dataset": "pool", "eval_dataset": "wanted", "seed": seed, "per_device_train_batch_size": min(4, s.micro),
		"gradient_accumulation_steps": max(1, s.micro/4), "per_device_eval_batch_size": 4,
	}
	if contenders[name].component == "" {
		over["max_steps"] = w.total()
	} else {
		over["train_type"], over["warmup_step"], over["update_step"], over["update_times"] = "dynamic_select", w.warmup, w.steps, w.times
	}
	return p, over, nil
}

// chooses trains on random rows for the warm-up, and then in windows on the rows that a
// selector chooses for each.
func (l *lab) chooses(ctx context.Context, s scale, seed int, name string, w windows) (map[string]float64, error) {
	p, over, err := l.selection(s, seed, name, w)
	if err != nil {
		return nil, err
	}
	c, before := contenders[name], 0.0
	params := c.params
	if c.offline != nil {
		if params, before, err = l.prepare(ctx, p, c.offline); err != nil {
			return nil, err
		}
	}
	r, err := l.run(ctx, "run", over, c.component, params)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{"seconds": before + r.seconds, "selecting": before + r.choices, "rows per second": r.perSec, "steps": float64(w.total())}
	tokens, err := r.tokens()
	if err != nil {
		return nil, err
	}
	values["tokens per second"] = r.perSec * tokens
	if err := l.held(ctx, r.dir, "", values); err != nil || c.component == "" {
		return values, err
	}
	return values, picks(r.dir, p, values)
}

// held adds the losses on the held-out sets, with an adapter, to the values; when says at
// what step.
func (l *lab) held(ctx context.Context, adapter, when string, values map[string]float64) error {
	after, err := l.run(ctx, "held", keys{
		"do_train": false, "eval_dataset": "target,rest", "eval_on_each_dataset": true, "adapter_name_or_path": adapter, "per_device_eval_batch_size": 4,
	}, "", nil)
	if err != nil {
		return err
	}
	losses, err := after.losses()
	if err != nil {
		return err
	}
	values["target loss"+when], values["rest loss"+when] = losses["target"], losses["rest"]
	return nil
}

// picks adds what the chosen rows are: the share of them that is of the target's kind, and
// their length beside that of a row of the pool.
func picks(dir string, p pool, values map[string]float64) error {
	raw, err := storage.ReadFile(filepath.Join(dir, "selected_rows.jsonl"))
	if err != nil {
		return err
	}
	hits, all, chosen := 0, 0, 0
	for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); all++ {
		var pick struct{ Index int }
		if err := json.Unmarshal(s.Bytes(), &pick); err != nil {
			return err
		}
		if p.rows[pick.Index].Kind == p.eval[0].Kind {
			hits++
		}
		chosen += p.rows[pick.Index].bytes()
	}
	if all == 0 {
		return fmt.Errorf("%s: nothing was chosen", dir)
	}
	total := 0
	for _, r := range p.rows {
		total += r.bytes()
	}
	values["precision"] = float64(hits) / float64(all)
	values["length"] = float64(chosen) / float64(all) / (float64(total) / float64(len(p.rows)))
	return nil
}

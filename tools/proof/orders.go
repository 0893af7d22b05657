package main

import (
	"context"
	"path/filepath"

	"dataflex.dev/dataflex/algo/report/chart"
	"dataflex.dev/dataflex/tools/tasks"
)

// onePass is shared by the runs that differ in the order of their rows: all rows once.
var onePass = keys{
	"train_type": "dynamic_reorder", "dataset": "pool", "eval_dataset": "eval", "finetuning_type": "lora", "lora_target": "all", "lora_rank": 8,
	"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "per_device_eval_batch_size": 16,
	"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1, "warmup_step": 8, "update_step": 10, "num_train_epochs": 1,
}

// patterns are the orders compared, by the model's loss during training.
var patterns = []string{"sorting", "folding", "saw"}

// sawTeeth are the settings of DataFlex's presets.
var sawTeeth = keys{"num_sections": 3, "folding_ratio": 0.075, "layers": 2}

// orderTrial: a pass over six families in equal shares, 15 % of the rows with a wrong answer,
// in the order of each pattern and in random order; the evaluation set has all families.
func orderTrial(ctx context.Context, l *lab, out *trial) error {
	pool := tasks.Make(uint64(1000+l.seed), 120, 0.15, tasks.Families)
	eval := tasks.Make(uint64(2000+l.seed), 16, 0, tasks.Families)
	if err := l.data(map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		return err
	}
	l.base = onePass
	loss := func(name string, c component) error {
		r, err := l.run(ctx, name, nil, c)
		if err != nil {
			return err
		}
		x, err := r.evalLoss("")
		out.set(name+" loss", x)
		return err
	}
	if err := loss("shuffle", component{"shuffle", keys{"pattern": "shuffle", "seed": l.seed}}); err != nil {
		return err
	}
	for _, p := range patterns {
		params := keys{"kind": "dynamic", "pattern": p, "score_source": "model_loss", "seed": l.seed}
		if p == "saw" {
			params["pattern_params"] = sawTeeth
		}
		if err := loss(p, component{p, params}); err != nil {
			return err
		}
	}
	return nil
}

func orderClaims() []claim {
	var out []claim
	for _, p := range patterns {
		c := lower("reorder", p+", dynamic, by loss", "eval loss of all families, one pass", p+" loss", "shuffle loss", "shuffle",
			"answers that are wrong have the highest losses and come last, when the model has them fresh; the paper's scores are of quality, not losses")
		c.open = true
		out = append(out, c)
	}
	return out
}

func drawOrders(path string, trials []*trial) error {
	return bars(path, chart.Axes{Title: "eval loss after one pass, by the order of the rows", Y: "loss"}, append([]string{"shuffle"}, patterns...), trials, nil, part{"", "", " loss"})
}

// chained are the components of pipelineTrial's pipelines.
func (l *lab) chained() keys {
	return keys{
		"selectors": keys{"aim": keys{"name": "less", "params": keys{"cache_dir": filepath.Join(l.dir, "aim")}}, "hard": keys{"name": "loss", "params": keys{"focus": "high"}}},
		"mixers":    keys{"shares": keys{"name": "odm", "params": keys{"warmup_steps": 4}}},
		"reorders":  keys{"saw": keys{"name": "saw", "params": keys{"kind": "dynamic", "pattern": "saw", "pattern_params": sawTeeth, "score_source": "model_loss"}}},
		"weighters": keys{"upper": keys{"name": "loss"}},
	}
}

// pipelineTrial: as selectorTrial, for a selector that narrows the pool for the following
// stages; and for DataFlex's pipeline "hierarchical", which rows it serves.
func pipelineTrial(ctx context.Context, l *lab, out *trial) error {
	pool, eval := l.pool(tasks.Target, 32)
	if err := l.data(map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		return err
	}
	l.parts = l.chained()
	if err := l.contest(ctx, out, pool, tasks.Target, []contender{
		{"random", component{"random", keys{}}, nil},
		{"narrowed", component{"narrowed", keys{"stages": []keys{
			{"family": "selector", "component": "aim", "keep_ratio": 0.1, "every": 8},
			{"family": "reorder", "component": "saw"},
		}}}, keys{"train_type": "dynamic_lego"}},
	}); err != nil {
		return err
	}
	r, err := l.run(ctx, "hierarchical", keys{"train_type": "dynamic_lego", "update_times": 8}, component{"hierarchical", keys{"stages": []keys{
		{"family": "selector", "component": "hard", "keep_ratio": 0.5, "warmup_step": 4, "every": 40},
		{"family": "mixer", "component": "shares", "every": 16},
		{"family": "reorder", "component": "saw", "every": 16},
		{"family": "weighter", "component": "upper", "warmup_step": 4},
	}}})
	if err != nil {
		return err
	}
	picks, err := r.picks()
	if err != nil {
		return err
	}
	distinct := map[int]bool{}
	for _, p := range picks {
		distinct[p.Row] = true
	}
	out.set("hierarchical distinct", float64(len(distinct))/float64(len(picks)))
	return nil
}

func pipelineClaims() []claim {
	return []claim{
		family("pipeline", "LESS keeps 10 %, then saw", "narrowed", enough, ""),
		lower("pipeline", "LESS keeps 10 %, then saw", "eval loss", "narrowed loss", "random loss", "random", ""),
		share("pipeline", "loss, odm, saw, loss weighter", "distinct rows of 512 served, of 688", "hierarchical distinct", 1, ""),
	}
}

func drawPipelines(path string, trials []*trial) error {
	return bars(path, chart.Axes{Title: "a pipeline whose selector is LESS: rows of the evaluation's family", Y: "share"}, []string{"random", "narrowed"}, trials, nil, part{"", "", " share"})
}

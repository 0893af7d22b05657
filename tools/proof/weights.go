package main

import (
	"context"

	"dataflex.dev/dataflex/tools/tasks"
)

// weighs is shared by all weighted runs. The anchors are those of adapt.
var weighs = keys{
	"dataset": "pool", "eval_dataset": "anchor", "finetuning_type": "full",
	"per_device_train_batch_size": 16, "per_device_eval_batch_size": 16, "gradient_accumulation_steps": 1,
	"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.05, "max_steps": 90,
}

var weighted = keys{"train_type": "dynamic_weight"}

// refusalTrial: 30 % of the rows have the same useless answer instead of their own. Losses are
// means over clean rows that no run has seen: of all families, and of the anchors' family.
func refusalTrial(ctx context.Context, l *lab, out *trial) error {
	seed := uint64(l.seed)
	return l.weigh(ctx, out, "refusals ", tasks.Refuse(seed, 0.30, tasks.Make(5000+seed, 120, 0, tasks.Families)), []contender{
		{"unweighted", component{}, keys{"train_type": "static"}},
		{"linupper", component{"loss", keys{"strategy": "linupper"}}, weighted},
		{"quadratic", component{"loss", keys{"strategy": "quadratic"}}, weighted},
		{"extremes", component{"loss", keys{"strategy": "extremes"}}, weighted},
		{"adapt", component{"adapt", keys{"tau": 1, "refresh_interval": 10}}, weighted},
		{"joint_update_aware", component{"joint_update_aware", keys{"target_update_step": 10}}, weighted},
	})
}

// swapTrial: 30 % of the rows have the answer of another task.
func swapTrial(ctx context.Context, l *lab, out *trial) error {
	return l.weigh(ctx, out, "swaps ", tasks.Make(uint64(5000+l.seed), 120, 0.30, tasks.Families), []contender{
		{"unweighted", component{}, keys{"train_type": "static"}},
		{"linupper", component{"loss", keys{"strategy": "linupper"}}, weighted},
		{"quadratic", component{"loss", keys{"strategy": "quadratic"}}, weighted},
		{"adapt", component{"adapt", keys{"tau": 1, "refresh_interval": 10}}, weighted},
	})
}

// weigh trains the contenders on a pool and measures them on clean rows.
func (l *lab) weigh(ctx context.Context, out *trial, prefix string, pool []tasks.Row, runs []contender) error {
	test := tasks.Make(uint64(7000+l.seed), 48, 0, tasks.Families)
	anchors := tasks.Only(tasks.Make(uint64(6000+l.seed), 32, 0, tasks.Families), tasks.Target)
	if err := l.data(map[string][]tasks.Row{"pool": pool, "anchor": anchors, "test": test}); err != nil {
		return err
	}
	l.base = weighs
	for _, c := range runs {
		r, err := l.run(ctx, c.key, c.over, c.component)
		if err != nil {
			return err
		}
		losses, err := l.score(ctx, c.key+"-test", keys{
			"model_name_or_path": r.dir, "dataset": "test", "train_type": "dynamic_select", "warmup_step": 1, "update_step": 1, "max_steps": 1,
		})
		if err != nil {
			return err
		}
		var family []float64
		for i, x := range losses {
			if test[i].Family == tasks.Target {
				family = append(family, x)
			}
		}
		out.set(prefix+c.key, mean(losses))
		out.set(prefix+c.key+" family", mean(family))
	}
	return nil
}

func mean(x []float64) (m float64) {
	for _, v := range x {
		m += v / float64(len(x))
	}
	return m
}

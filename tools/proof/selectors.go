package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/algo/tsds"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/tools/tasks"
)

// selects is shared by all selecting runs: 4 steps of random rows, then, as in LESS's paper,
// one selection for the rest of the run.
var selects = keys{
	"train_type": "dynamic_select", "dataset": "pool", "eval_dataset": "eval", "finetuning_type": "lora", "lora_target": "all", "lora_rank": 8,
	"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "per_device_eval_batch_size": 16,
	"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.1,
	"warmup_step": 4, "update_step": 8, "update_times": 1, "num_train_epochs": 1,
}

// often is a new selection every 4 steps.
var often = keys{"update_step": 4, "update_times": 3}

// contender is a run of the selection experiment.
type contender struct {
	key string // of its values
	component
	over keys
}

// selectorTrial: six families in equal shares, 15 % of the rows with a wrong answer;
// the evaluation set is one family, which the model has never seen.
func selectorTrial(ctx context.Context, l *lab, out *trial) error {
	pool, eval := l.pool(tasks.Target, 32)
	if err := l.data(map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
		return err
	}
	indices, probabilities := filepath.Join(l.dir, "top_indices.npy"), filepath.Join(l.dir, "tsds_probs.npy")
	if err := offline(ctx, l, pool, eval, indices, probabilities); err != nil {
		return err
	}
	return l.contest(ctx, out, pool, tasks.Target, contenders(indices, probabilities, nil))
}

// contenders are the runs of selectorTrial, or those named.
func contenders(indices, probabilities string, only map[string]bool) []contender {
	all := []contender{
		{"random", component{"random", keys{}}, nil},
		{"less", component{"less", keys{}}, nil},
		{"near", component{"near", keys{"indices_path": indices}}, nil},
		{"tsds", component{"tsds", keys{"probs_path": probabilities}}, nil},
		{"cluster_less", component{"cluster_less", keys{"cluster_size": 16}}, nil},
		{"zeroth", component{"zeroth", keys{"directions": 8}}, nil},
		{"zeroth-1", component{"zeroth", keys{"directions": 1}}, nil},
		{"less-often", component{"less", keys{}}, often},
		{"less-often-sgd", component{"less", keys{"gradient_type": "sgd"}}, often},
	}
	if only == nil {
		return all
	}
	return slices.DeleteFunc(all, func(c contender) bool { return !only[c.key] })
}

// The model half knows the families of NICE's trial, so that some of its answers earn a reward.
// More rows of niceLittle teach it little: no method gains there.
const (
	niceTarget = "upper"
	niceLittle = "spell"
)

// niceTrial: as selectorTrial; the reward is the share of correct characters, computed by a
// program.
func niceTrial(ctx context.Context, l *lab, out *trial) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	for _, target := range []string{niceTarget, niceLittle} {
		at := *l
		at.dir = filepath.Join(l.dir, target)
		pool, eval := at.pool(target, 48)
		if err := at.data(map[string][]tasks.Row{"pool": pool, "eval": eval}); err != nil {
			return err
		}
		found := newTrial()
		err := at.contest(ctx, found, pool, target, []contender{
			{"random", component{"random", keys{}}, nil},
			{"less", component{"less", keys{}}, nil},
			{"nice", component{"nice", keys{
				"reward": "command", "reward_command": []string{program, judgeArgument}, "max_new_tokens": 12, "fallback": "none",
			}}, nil},
		})
		if err != nil {
			return err
		}
		for key, v := range found.Values {
			out.set(target+" "+key, v)
		}
	}
	return nil
}

// pool makes a pool of all families and n evaluation rows of one.
func (l *lab) pool(target string, n int) (pool, eval []tasks.Row) {
	pool = tasks.Make(uint64(1000+l.seed), 120, 0.15, tasks.Families)
	return pool, tasks.Only(tasks.Make(uint64(2000+l.seed), n, 0, tasks.Families), target)
}

// contest runs the contenders on the pool, and measures the share of the target family among
// their picks and the final evaluation loss.
func (l *lab) contest(ctx context.Context, out *trial, pool []tasks.Row, target string, runs []contender) error {
	l.base = selects
	for _, c := range runs {
		r, err := l.run(ctx, c.key, c.over, c.component)
		if err != nil {
			return err
		}
		picks, err := r.picks()
		if err != nil {
			return err
		}
		loss, err := r.evalLoss("")
		if err != nil {
			return err
		}
		out.set(c.key+" share", familyShare(pool, picks, target))
		out.set(c.key+" loss", loss)
	}
	return nil
}

// offline makes the files of near and tsds as dataflex-cli embed, near and tsds do, with
// vectors of the demo's model.
func offline(ctx context.Context, l *lab, pool, eval []tasks.Row, indices, probabilities string) error {
	dev := cpu.New(1)
	defer dev.Close()
	e, err := feature.OpenEmbedder(dev, l.model, feature.EmbedOptions{Pooling: feature.Mean, Log: l.log})
	if err != nil {
		return err
	}
	defer e.Close()
	candidates, err := e.Embed(ctx, texts(pool))
	if err != nil {
		return err
	}
	queries, err := e.Embed(ctx, texts(eval))
	if err != nil {
		return err
	}
	if _, err := neighbor.Near(ctx, dev, nil, candidates, queries, neighbor.UpstreamNeighbours, indices); err != nil {
		return fmt.Errorf("near: %w", err)
	}
	if _, err := tsds.Write(ctx, dev, nil, candidates, queries, tsds.Official(), probabilities); err != nil {
		return fmt.Errorf("tsds: %w", err)
	}
	return nil
}

func texts(rows []tasks.Row) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		out[i] = feature.RowText(r.Instruction, r.Input, r.Output, "")
	}
	return out
}

// familyShare is the share of the picked rows that belong to one of the families.
func familyShare(pool []tasks.Row, picks []pick, families ...string) float64 {
	hits := 0
	for _, p := range picks {
		if slices.Contains(families, pool[p.Row].Family) {
			hits++
		}
	}
	return float64(hits) / float64(len(picks))
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/tools/tasks"
)

// domains are a mixture of unequal difficulty: three that are memorised quickly, and one that
// takes the whole run.
var domains = []string{"after", "number", "opposite", "repeat"}

// mixes is shared by all runs over the mixture; the number of steps and of rows per step are
// the same for all.
var mixes = keys{
	"train_type": "dynamic_mix", "dataset": domains, "eval_dataset": evaluations(), "eval_on_each_dataset": true, "finetuning_type": "full",
	"per_device_train_batch_size": 20, "per_device_eval_batch_size": 48, "gradient_accumulation_steps": 1,
	"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_ratio": 0.05,
	"warmup_step": 10, "update_step": 5, "update_times": -1, "train_step": steps, "mixture_sample_rule": "mixture",
}

func evaluations() []string {
	out := make([]string, len(domains))
	for i, d := range domains {
		out[i] = d + "_eval"
	}
	return out
}

// steps is the number of steps of every run.
const steps = 240

// mixtureTrial trains on equal shares (also DoReMi's step 1), with DoReMi's steps 2 and 3, and
// with ODM.
func mixtureTrial(ctx context.Context, l *lab, out *trial) error {
	sets := map[string][]tasks.Row{}
	families := append(slices.Clone(tasks.Facts), tasks.Families...)
	pool, eval := tasks.Make(uint64(3000+l.seed), 300, 0, families), tasks.Make(uint64(4000+l.seed), 48, 0, families)
	for _, d := range domains {
		sets[d], sets[d+"_eval"] = tasks.Only(pool, d), tasks.Only(eval, d)
	}
	if err := l.data(sets); err != nil {
		return err
	}
	l.base = mixes
	uniform, err := l.run(ctx, "uniform", keys{"static_mix": true}, component{})
	if err != nil {
		return err
	}
	proxy, err := l.run(ctx, "doremi-proxy", nil, component{"doremi", keys{"reference_model_path": uniform.dir}})
	if err != nil {
		return err
	}
	shares, err := averages(proxy)
	if err != nil {
		return err
	}
	final, err := l.run(ctx, "doremi", keys{"static_mix": true, "init_mixture_proportions": shares}, component{})
	if err != nil {
		return err
	}
	odm, err := l.run(ctx, "odm", nil, component{"odm", keys{"warmup_steps": 10}})
	if err != nil {
		return err
	}
	out.Curves["doremi shares"] = shares
	for key, r := range map[string]result{"uniform": uniform, "doremi": final, "odm": odm} {
		if err := perplexities(out, key, r); err != nil {
			return err
		}
	}
	return weightCurves(out, odm)
}

// averages are the shares that DoReMi's step 2 writes for step 3.
func averages(r result) ([]float64, error) {
	raw, err := os.ReadFile(filepath.Join(r.dir, "doremi_average_weights.json"))
	if err != nil {
		return nil, err
	}
	var a struct {
		Weights []float64 `json:"average_weights"`
	}
	return a.Weights, json.Unmarshal(raw, &a)
}

// perplexities measures every domain's perplexity, their mean and the worst.
func perplexities(out *trial, key string, r result) error {
	var mean, worst float64
	for _, d := range domains {
		loss, err := r.evalLoss(d + "_eval")
		if err != nil {
			return err
		}
		p := math.Exp(loss)
		out.set(key+" "+d, p)
		mean, worst = mean+p/float64(len(domains)), max(worst, p)
	}
	out.set(key+" mean", mean)
	out.set(key+" worst", worst)
	return nil
}

// weightCurves are ODM's shares over its updates.
func weightCurves(out *trial, r result) error {
	return readLines(filepath.Join(r.dir, "odm_weights.jsonl"), func(line []byte) error {
		var at struct {
			Weights []float64 `json:"domain_weights"`
		}
		if err := json.Unmarshal(line, &at); err != nil {
			return err
		}
		if len(at.Weights) != len(domains) {
			return fmt.Errorf("%d weights of %d domains", len(at.Weights), len(domains))
		}
		for i, d := range domains {
			out.Curves["odm "+d] = append(out.Curves["odm "+d], at.Weights[i])
		}
		return nil
	})
}

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
)

// spoilt are the ways in which some of the answers are made useless.
var spoilt = map[string]func(r *rand.Rand, rows []row, i int){
	"swapped": func(r *rand.Rand, rows []row, i int) {
		j := r.IntN(len(rows))
		rows[i].Output, rows[j].Output = rows[j].Output, rows[i].Output
	},
	"truncated": func(_ *rand.Rand, rows []row, i int) {
		answer := []rune(rows[i].Output)
		rows[i].Output = string(answer[:(len(answer)+3)/4])
	},
	"refused": func(_ *rand.Rand, rows []row, i int) { rows[i].Output = "I cannot help with that." },
}

// spoiltShare is the share of spoilt answers.
const spoiltShare = 0.3

// noiseCells train on rows some of which have a spoilt answer, weighted or not.
func noiseCells(s scale, seed int) []cell {
	var out []cell
	for _, kind := range []string{"swapped", "truncated", "refused"} {
		for _, weighter := range s.weighters {
			id := fmt.Sprintf("noise/%s %s/seed-%d", weighter, kind, seed)
			out = append(out, cell{id, func(ctx context.Context, l *lab) (map[string]float64, error) {
				return l.weighs(ctx, s, seed, weighter, kind)
			}})
		}
	}
	return out
}

func (l *lab) weighs(ctx context.Context, s scale, seed int, weighter, kind string) (map[string]float64, error) {
	p, err := readPool(l.options.data, s.perKind, s.held, seed)
	if err != nil {
		return nil, err
	}
	r := rand.New(rand.NewPCG(uint64(seed), 9))
	for i := range p.rows {
		if r.Float64() < spoiltShare {
			spoilt[kind](r, p.rows, i)
		}
	}
	if err := l.sets(map[string]any{"pool": p.rows, "wanted": p.eval, "target": p.target, "rest": p.rest}); err != nil {
		return nil, err
	}
	over := keys{
		"dataset": "pool", "eval_dataset": "wanted", "seed": seed, "per_device_train_batch_size": min(4, s.micro),
		"gradient_accumulation_steps": max(1, s.micro/4), "per_device_eval_batch_size": 4,
	}
	component := ""
	if over["max_steps"] = s.warmup + s.steps; weighter != "none" {
		component = weighter
		delete(over, "max_steps")
		over["train_type"], over["warmup_step"], over["train_step"] = "dynamic_weight", s.warmup, s.warmup+s.steps
	}
	run, err := l.run(ctx, "run", over, component, nil)
	if err != nil {
		return nil, err
	}
	values := map[string]float64{"seconds": run.seconds}
	return values, l.held(ctx, run.dir, "", values)
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/tasks"
)

// mixtral is a tiny mixture of experts, trained from scratch with the demo's tokenizer.
const mixtral = `{
 "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_act": "silu", "initializer_range": 0.05,
 "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16,
 "num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000,
 "tie_word_embeddings": true, "vocab_size": 512, "bos_token_id": null, "eos_token_id": 509, "pad_token_id": 509, "torch_dtype": "float32"
}
`

// twins are two domains of the same family with different rows; odd is of another family.
var twins = []string{"twin_a", "twin_b"}

const odd = "odd"

// expertTrial: gates cannot distinguish the twins, so that the odd domain is the one that uses
// the experts differently, and dynamic_moe must increase its weight.
func expertTrial(ctx context.Context, l *lab, out *trial) error {
	sets := map[string][]tasks.Row{
		twins[0]: tasks.Only(tasks.Make(uint64(8000+l.seed), 100, 0, tasks.Families), "spell"),
		twins[1]: tasks.Only(tasks.Make(uint64(8100+l.seed), 100, 0, tasks.Families), "spell"),
		odd:      tasks.Only(tasks.Make(uint64(8200+l.seed), 100, 0, tasks.Families), tasks.Target),
	}
	if err := l.data(sets); err != nil {
		return err
	}
	model := filepath.Join(l.dir, "mixtral")
	if err := os.MkdirAll(model, 0o755); err != nil {
		return err
	}
	if err := storage.WriteFile(filepath.Join(model, "config.json"), []byte(mixtral)); err != nil {
		return err
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		raw, err := os.ReadFile(filepath.Join(l.model, name))
		if err != nil {
			return err
		}
		if err := storage.WriteFile(filepath.Join(model, name), raw); err != nil {
			return err
		}
	}
	r, err := l.run(ctx, "dynamic_moe", keys{
		"train_type": "dynamic_mix", "model_name_or_path": model, "train_from_scratch": true, "finetuning_type": "full",
		"dataset": []string{twins[0], twins[1], odd}, "do_eval": false, "moe_aux_loss_coef": 0.01,
		"per_device_train_batch_size": 16, "gradient_accumulation_steps": 1, "learning_rate": 3e-3,
		"warmup_step": 20, "update_step": 10, "update_times": 6,
	}, component{"dynamic_moe", keys{"eta": 10, "eval_samples": 32}})
	if err != nil {
		return err
	}
	return gates(out, r)
}

// gates reads how the weights changed with the distances.
func gates(out *trial, r result) error {
	last := map[string]float64{twins[0]: 1. / 3, twins[1]: 1. / 3, odd: 1. / 3}
	follows, updates := 0, 0
	var distance float64
	err := readLines(filepath.Join(r.dir, "dynamic_moe_weights.jsonl"), func(line []byte) error {
		var at struct {
			Delta   map[string]float64 `json:"delta"`
			Weights map[string]float64 `json:"new_weights"`
		}
		if err := json.Unmarshal(line, &at); err != nil {
			return err
		}
		if len(at.Weights) != len(last) {
			return fmt.Errorf("%d weights of %d domains", len(at.Weights), len(last))
		}
		updates++
		if farthest, gainer := largest(at.Delta), largest(ratios(at.Weights, last)); farthest == gainer {
			follows++
		}
		distance += at.Delta[odd] / (at.Delta[odd] + at.Delta[twins[0]] + at.Delta[twins[1]])
		last = at.Weights
		for name, w := range at.Weights {
			out.Curves["moe "+name] = append(out.Curves["moe "+name], w)
			out.Curves["moe delta "+name] = append(out.Curves["moe delta "+name], at.Delta[name])
		}
		return nil
	})
	if err != nil {
		return err
	}
	out.set("moe follows", float64(follows)/float64(max(updates, 1)))
	out.set("moe odd", last[odd])
	out.set("moe twin", max(last[twins[0]], last[twins[1]]))
	out.set("moe distance", distance/float64(max(updates, 1)))
	return nil
}

func ratios(now, before map[string]float64) map[string]float64 {
	out := map[string]float64{}
	for name, w := range now {
		out[name] = w / before[name]
	}
	return out
}

// largest is the name with the largest value.
func largest(m map[string]float64) string {
	best := ""
	for name, x := range m {
		if best == "" || x > m[best] || x == m[best] && name < best {
			best = name
		}
	}
	return best
}

package recipe

import (
	"fmt"
	"strings"
)

// Example is the settings for data/examples: the demo's model and the data sets in data.
func Example(r Recipe) Settings {
	s := Settings{
		Program: "./bin/dataflex-cli", Folder: "data/examples", Saves: "saves/examples", Model: "tools/dataflex-demo/model", Template: "chatml", Stage: "sft",
		Dataset: []string{"tasks"}, Eval: []string{"sums_eval"}, RowFiles: [2]string{"data/tasks.jsonl", "data/sums_eval.jsonl"},
		Cutoff: 128, Micro: 4, Accumulate: 2, Rate: "1.0e-3", Warmup: 4, Update: 4, Updates: 3, Epochs: "1.0", Anew: true,
	}
	switch {
	case r.Name == "pretrain":
		s.Dataset, s.Eval, s.Micro = []string{"stories"}, nil, 1
	case r.Name == "lora":
		s.Dataset, s.Eval = []string{"everyday", "conversations"}, []string{"everyday_eval"}
	case r.Name == "dynamic_moe":
		s.Model = "data/examples/moe"
	case r.Kind == Eval:
		s.Eval = []string{"everyday_eval", "sums_eval"}
	}
	if r.Kind == Mix || r.Kind == Lego {
		s.Dataset, s.Eval = []string{"sums", "words", "facts"}, nil
	}
	if r.Name == "doremi_3" {
		s.Shares = "[0.98, 0.004, 0.016]"
	}
	return s
}

// Index is data/examples/README.md.
func Index() string {
	var b strings.Builder
	b.WriteString("# Examples\n\n" +
		"Every file here runs unchanged, after `make`, in the folder that contains `data`: on the demo's model and on the data sets in `data`,\n" +
		"each in seconds. `components.yaml` has the parameters of all components, with comments. `dataflex-cli init less` (or any other name of\n" +
		"this table) writes the same for your model and data.\n\n" +
		"    ./bin/dataflex-cli train data/examples/less.yaml\n" +
		"    ./bin/dataflex-train -config data/examples/less.yaml learning_rate=5e-4   # the same, with a key overridden\n\n" +
		"`tasks` are small tasks of six kinds, 15 % of them with wrong answers, and `sums_eval` are sums: what `less` chose is in\n" +
		"`saves/examples/less/selection_report.md`, three quarters sums or more, where `random` has a sixth.\n\n" +
		"| file | `train_type` | what it does |\n|---|---|---|\n")
	for _, r := range table {
		kind := "`" + string(r.Kind) + "`"
		if !r.Trains() {
			kind = "–"
		}
		does := r.Does
		if r.Paper != "" {
			does += " (" + r.Paper + ")"
		}
		fmt.Fprintf(&b, "| [`%[1]s`](%[1]s.yaml) | %s | %s |\n", r.Name, kind, does)
	}
	b.WriteString("\n`near.yaml` and `tsds.yaml` read `near.npy` and `tsds.npy`; the commands that made these are in their first lines. `doremi_2.yaml` uses\n" +
		"the result of `doremi_1.yaml`, `export.yaml` and `eval.yaml` that of `lora.yaml`. `dynamic_moe.yaml` trains a tiny mixture of experts\n" +
		"(`moe`) from random weights, since the demo's model is not one.\n\n" +
		"Pages: [methods](methods/README.md), [models and machines](models.md), [several processes](cluster/README.md),\n" +
		"[environment variables](environment.md), [where we differ from DataFlex and LLaMA-Factory](differences.md).\n")
	return b.String()
}

// ForExample is the recipe in the form of data/examples.
func ForExample(r Recipe) Recipe {
	if r.Name == "dynamic_moe" {
		r.Remarks = append(r.Remarks, "Here it is a tiny one with random initial weights.")
		r.Keys = append(r.Keys, Line{"finetuning_type", "full", ""}, Line{"lora_target", "", ""}, Line{"lora_rank", "", ""},
			Line{"train_from_scratch", "true", "random weights of the shape of config.json"})
	}
	return r
}

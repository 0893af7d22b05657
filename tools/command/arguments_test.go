package command

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// commands is a program with a command that takes a configuration and one that does not.
func commands() *cobra.Command {
	root := &cobra.Command{Use: "p"}
	other := &cobra.Command{Use: "other", Run: func(*cobra.Command, []string) {}}
	other.Flags().Int("k", 0, "")
	root.AddCommand(TrainCommand("train"), other)
	return root
}

// TestArguments: every notation of LLaMA-Factory's users gives the same configuration and the
// same keys.
func TestArguments(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"a.yaml", "b.yaml", "x=1.yaml"} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for line, want := range map[string]string{
		"train a.yaml":                                      "train|a.yaml",
		"train a.yaml seed=1 lora_rank=4":                   "train|a.yaml|seed=1|lora_rank=4",
		"train seed=1 a.yaml":                               "train|a.yaml|seed=1",
		"train a.yaml --seed 1 --lora-rank=4":               "train|a.yaml|seed=1|lora_rank=4",
		"train -config a.yaml seed=1":                       "train|a.yaml|seed=1",
		"train --config a.yaml":                             "train|a.yaml",
		"train -config=a.yaml":                              "train|a.yaml",
		"train --config=a.yaml":                             "train|a.yaml",
		"train - seed=1":                                    "train|-|seed=1",
		"train -config - seed=1":                            "train|-|seed=1",
		"train x=1.yaml":                                    "train|x=1.yaml",
		"train --stage sft --do_train --max_steps -1":       "train||stage=sft|do_train=true|max_steps=-1",
		"train --do_train False --bf16 True --plot_loss":    "train||do_train=false|bf16=true|plot_loss=true",
		"train --do_train a.yaml":                           "train|a.yaml|do_train=true",
		"train --lora_target q_proj v_proj --seed 3":        "train||lora_target=q_proj,v_proj|seed=3",
		"train --no_plot_loss --no_cuda":                    "train||plot_loss=false|no_cuda=true",
		"train --learning_rate -1e-4":                       "train||learning_rate=-1e-4",
		"train --model_name_or_path C:\\m --output_dir a,b": `train||model_name_or_path="C:\\m"|output_dir="a,b"`,
		"train --save_strategy no":                          "train||save_strategy=no",
		"train a.yaml --device sim --dry-run":               "train|--device=sim|--dry-run=true|a.yaml",
		"train a.yaml -device=sim --dry_run seed=1":         "train|--device=sim|--dry-run=true|a.yaml|seed=1",
		"train a.yaml -- seed=1":                            "train|a.yaml|seed=1",
		"train -h":                                          "train|--help",
		"train":                                             "train",
		"other -k 3 --seed":                                 "other|-k|3|--seed",
		"__complete train ":                                 "__complete|train",
	} {
		got, err := Arguments(commands(), strings.Fields(line))
		if err != nil || !slices.Equal(got, strings.Split(want, "|")) {
			t.Errorf("%s:\n%q, %v\n%q", line, got, err, strings.Split(want, "|"))
		}
	}
	for line, want := range map[string]string{
		"trian a.yaml":              `there is no command "trian": did you mean train?`,
		"quux":                      `there is no command "quux"; there are completion, help, other, train`,
		"train --confg a.yaml":      "unknown option --confg: did you mean --config?",
		"train -learning_rat 1":     "unknown option -learning_rat: did you mean --learning_rate?",
		"train --devise sim":        "unknown option --devise: did you mean --device?",
		"train --qqqqqqqqqqqqqqq 1": "unknown option --qqqqqqqqqqqqqqq: see p train --help",
		"train a.yaml b.yaml":       "two configurations, a.yaml and b.yaml",
		"train --seed":              "--seed needs a value",
		"train --seed --bf16":       "--seed needs a value",
		"train -config":             "-config needs the file",
		"train --device":            "--device needs a value",
	} {
		if got, err := Arguments(commands(), strings.Fields(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v", line, got, err)
		}
	}
}

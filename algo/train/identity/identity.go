// Package identity says by content what a run is: its model, its rows, its method, its
// settings.
package identity

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
)

// Identity says which run it is. Of one identity are the runs that a checkpoint of one
// may be continued by the other.
type Identity struct {
	Run      []config.Setting `json:"run"`      // base weights, rows and their order, method, seed, shape of what trains
	Settings []config.Setting `json:"settings"` // hyperparameters that may change when a run goes on, and are named then
	Machine  string           `json:"machine"`  // instruction set: another one gives other last bits
}

// runKeys are the keys whose values make a run another one, besides what is hashed.
var runKeys = []string{
	"finetuning_type", "train_from_scratch", ropeKey, "optim", "use_muon", "per_device_train_batch_size", "gradient_accumulation_steps", "ranks",
	"seed", "data_seed", "disable_shuffling", "group_by_length", "dataloader_drop_last", "streaming", "train_type",
}

// The settings that say how positions are scaled. Where they are not, the kind has no value that
// could differ: a rope_scaling that does nothing makes a run no other.
const (
	ropeKey       = "rope_scaling"
	ropeFactorKey = "rope_scaling's factor"
)

// codeKeys say in which codes weights are kept; those after the first matter to 4 bits alone.
var codeKeys = []string{"quantization_bit", "quantization_type", "double_quantization"}

// shapeKeys are those among them that matter to one finetuning_type or train_type.
var shapeKeys = map[string][]string{
	config.LoRA:        {"lora_rank", "lora_alpha", "use_rslora", "use_dora", "pissa_init", "lora_target", "additional_target"},
	config.Freeze:      {"freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules"},
	config.DynamicLego: {"init_mixture_proportions", "mixer_eval_dataset"},
	config.DynamicMix:  {"static_mix", "mixture_sample_rule", "init_mixture_proportions", "mixer_eval_dataset", "freeze_gate"},
}

// placeKeys say where things lie or how they are shown: a run that goes on may change
// them without a word. What data keys decide is in the rows' hash.
var placeKeys = []string{
	"output_dir", "overwrite_output_dir", "do_train", "do_predict", "predict_with_generate", "run_name", "report_to", "logging_dir", "use_cpu", "plot_loss", "components_cfg_file", "component_name",
	"include_num_input_tokens_seen", "include_effective_tokens_per_second", "ignore_data_skip",
}

// namedKeys are settings among the keys of model and data.
var namedKeys = []string{"eval_dataset", "eval_on_each_dataset", "moe_aux_loss_coef"}

// Differing lists the keys whose values are not the same in a and b, as "key was A, is
// now B". Keys that only one of them has are of other versions and not compared.
func Differing(was, is []config.Setting) (out []string) {
	old := map[string]string{}
	for _, s := range was {
		old[s.Key] = s.Value
	}
	for _, s := range is {
		if before, ok := old[s.Key]; ok && before != s.Value {
			out = append(out, fmt.Sprintf("%s was %s, is now %s", s.Key, Short(before), Short(s.Value)))
		}
	}
	return out
}

// Short cuts hashes and long values.
func Short(s string) string {
	switch {
	case s == "":
		return "empty"
	case len(s) == 2*sha256.Size && !strings.Contains(s, " "):
		return "another content (" + s[:8] + "…)"
	case len(s) > 120:
		return s[:100] + "…"
	}
	return s
}

// OfModel are those of a run's settings that its model is made by, with that
// finetuning_type; the rows and what decides on them are not among them.
func (id *Identity) OfModel(finetuning string) []config.Setting {
	keys := slices.Concat([]string{"model_name_or_path", "adapter_name_or_path", "finetuning_type", ropeKey, ropeFactorKey}, codeKeys, shapeKeys[finetuning])
	return slices.DeleteFunc(slices.Clone(id.Run), func(s config.Setting) bool { return !slices.Contains(keys, s.Key) })
}

package config

import (
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// elsewhere are names that other trainers (transformers' scripts, TRL, axolotl, unsloth) give to
// LLaMA-Factory's keys.
var elsewhere = map[string]string{
	"model": "model_name_or_path", "model_name": "model_name_or_path", "model_path": "model_name_or_path", "base_model": "model_name_or_path",
	"model_id": "model_name_or_path", "adapter": "adapter_name_or_path", "adapter_path": "adapter_name_or_path",
	"lr": "learning_rate", "epochs": "num_train_epochs", "num_epochs": "num_train_epochs", "steps": "max_steps",
	"batch_size": "per_device_train_batch_size", "micro_batch_size": "per_device_train_batch_size", "train_batch_size": "per_device_train_batch_size",
	"eval_batch_size": "per_device_eval_batch_size", "grad_accum": "gradient_accumulation_steps", "gradient_accumulation": "gradient_accumulation_steps",
	"output": "output_dir", "out": "output_dir", "out_dir": "output_dir", "save_dir": "output_dir",
	"max_seq_length": "cutoff_len", "max_seq_len": "cutoff_len", "sequence_len": "cutoff_len", "block_size": "cutoff_len",
	"rank": "lora_rank", "lora_r": "lora_rank", "alpha": "lora_alpha", "dropout": "lora_dropout", "target_modules": "lora_target", "lora_target_modules": "lora_target",
	"train_file": "dataset", "dataset_name": "dataset", "datasets": "dataset", "train_dataset": "dataset", "validation_file": "eval_dataset",
	"scheduler": "lr_scheduler_type", "lr_scheduler": "lr_scheduler_type", "optimizer": "optim", "warmup": "warmup_ratio", "grad_clip": "max_grad_norm",
	"chat_template": "template", "prompt_template": "template", "sample_packing": "packing", "load_in_4bit": "quantization_bit", "load_in_8bit": "quantization_bit",
	"method": "component_name", "selector": "component_name", "component": "component_name",
}

// Suggest returns the key of known that an unknown name most likely means.
func Suggest(name string, known []string) (string, bool) {
	if key, ok := elsewhere[strings.ReplaceAll(strings.ToLower(name), "-", "_")]; ok {
		return key, true
	}
	return yamlfile.Nearest(name, known)
}

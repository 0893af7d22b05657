package config

import (
	"os"
	"strings"
	"testing"
)

// zero is a DeepSpeed configuration of that stage as in LLaMA-Factory's examples; more is
// added to zero_optimization.
func zero(stage, more string) string {
	return `{
  "train_batch_size": "auto",
  "train_micro_batch_size_per_gpu": "auto",
  "gradient_accumulation_steps": "auto",
  "gradient_clipping": "auto",
  "zero_allow_untested_optimizer": true,
  "fp16": {"enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 16, "hysteresis": 2, "min_loss_scale": 1},
  "bf16": {"enabled": "auto"},
  "zero_optimization": {
    "stage": ` + stage + `,
    "overlap_comm": false,
    "reduce_bucket_size": 5e8,
    "contiguous_gradients": true` + more + `
  }
}`
}

func TestDeepSpeedStages(t *testing.T) {
	for stage, want := range map[string]int{"0": 0, "1": 1, "2": 2, "3": 3} {
		file := write(t, "c.yaml", minimal+"deepspeed: ds.json\n")
		if err := os.WriteFile("ds.json", []byte(zero(stage, `, "round_robin_gradients": true, "stage3_gather_16bit_weights_on_model_save": true, "sub_group_size": 1e9`)), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s := c.Training.Sharding; s != (Sharding{Key: "deepspeed", Stage: want}) {
			t.Errorf("stage %s: %+v", stage, s)
		}
		if n := c.Notices(); len(n) != 0 {
			t.Errorf("notices %q", n)
		}
	}
	c := mustLoad(t, minimal+"deepspeed:\n  train_batch_size: 64\n  zero_optimization: {stage: 2}\n")
	if s := c.Training.Sharding; s != (Sharding{Key: "deepspeed", Stage: 2, BatchSize: 64}) {
		t.Errorf("a map: %+v", s)
	}
	for _, off := range []string{"deepspeed: null", "deepspeed: ''", "fsdp: ''", "fsdp: false", "seed: 1"} {
		if s := mustLoad(t, minimal+off+"\n").Training.Sharding; s != (Sharding{}) {
			t.Errorf("%s: %+v", off, s)
		}
	}
}

func TestFSDP(t *testing.T) {
	for text, want := range map[string]int{
		"fsdp: full_shard auto_wrap": 3, "fsdp: [shard_grad_op, auto_wrap]": 2, "fsdp: no_shard": 0, "fsdp: true": 3,
		"fsdp: full_shard\nfsdp_config: {fsdp_backward_prefetch: BACKWARD_PRE, min_num_params: 2000, offload_params: false}": 3,
	} {
		c := mustLoad(t, minimal+text+"\n")
		if s := c.Training.Sharding; s != (Sharding{Key: "fsdp", Stage: want}) || c.Training.GradientCheckpointing {
			t.Errorf("%s: %+v", text, s)
		}
	}
	if c := mustLoad(t, minimal+"fsdp: full_shard\nfsdp_config: {activation_checkpointing: true}\n"); !c.Training.GradientCheckpointing {
		t.Error("activation_checkpointing is not gradient_checkpointing")
	}
	if n := mustLoad(t, minimal+"fsdp_config: {min_num_params: 2000}\n").Notices(); len(n) != 1 || !strings.Contains(n[0], "fsdp is not set") {
		t.Errorf("notices %q", n)
	}
}

// Settings that change what is computed, or move memory, are refused with their place.
func TestShardingRefusals(t *testing.T) {
	for _, c := range []struct{ text, ds, want string }{
		{"deepspeed: ds.json", zero("3", `, "offload_optimizer": {"device": "cpu", "pin_memory": true}`), "ds.json:13:56: deepspeed: zero_optimization: offload_optimizer: the optimizer's states are not moved"},
		{"deepspeed: ds.json", zero("3", `, "offload_param": {"device": "nvme"}`), "offload_param: weights are not moved to the host's memory or a disk here"},
		{"deepspeed: ds.json", zero("4", ""), "ds.json:10:14: deepspeed: zero_optimization: stage: it is 0, 1, 2 or 3, not int 4"},
		{"deepspeed: ds.json", zero("2", `, "zero_quantized_gradients": true`), "zero_quantized_gradients: it is not done here, and changes what is computed"},
		{"deepspeed: ds.json", zero("2", `, "reduce_buket_size": 1`), `unknown key "reduce_buket_size": did you mean reduce_bucket_size?`},
		{"deepspeed: ds.json", `{"gradient_clipping": 0.5}`, `ds.json:1:23: deepspeed: gradient_clipping: it is float 0.5, and max_grad_norm is 1 (`},
		{"deepspeed: ds.json\nbf16: false", `{"bf16": {"enabled": true}}`, `deepspeed: bf16: it is bool true, and bf16 is false (c.yaml:7:7)`},
		{"deepspeed: ds.json", `{"train_micro_batch_size_per_gpu": 3}`, "per_device_train_batch_size is 8"},
		{"deepspeed: ds.json", `{"scheduler": {"type": "WarmupDecayLR"}}`, "scheduler: the learning rate follows lr_scheduler_type"},
		{"deepspeed: ds.json\noptim: sgd", `{"optimizer": {"type": "AdamW"}}`, "optim decides, which is sgd"},
		{"deepspeed: ds.json", `{"optimizer": {"type": "AdamW", "params": {"lr": "auto", "betas": [0.9, 0.95]}}}`, "betas: it is float 0.95, and adam_beta2 is 0.999"},
		{"deepspeed: ds.json", `{"amp": {"enabled": true}}`, "amp: NVIDIA's apex is not used here"},
		{"deepspeed: ds.json", `{"tensor_parallel": {"autotp_size": 4}}`, "tensor_parallel: matrices are not split over devices here"},
		{"deepspeed: ds.json", `{"stage": `, "ds.json:1"},
		{"deepspeed: ds.json", `[1]`, "ds.json"},
		{"deepspeed: none.json", "", "c.yaml:6:12: deepspeed: there is no file none.json"},
		{"deepspeed: 3", "", "deepspeed: expected a JSON file's path, or its contents as a map, got int 3"},
		{"deepspeed: {zero_optimization: {stage: 1}}\nfsdp: full_shard", "", "c.yaml:7:7: fsdp: deepspeed is set at c.yaml:6:12"},
		{"fsdp: full_shard offload", "", "fsdp: offload: weights are not moved"},
		{"fsdp: hybrid_shard", "", "hybrid_shard replicates the shards on every machine"},
		{"fsdp: full_shard shard_grad_op", "", "full_shard and shard_grad_op exclude each other"},
		{"fsdp: fullshard", "", `"fullshard" is unknown, known are: full_shard`},
		{"fsdp: full_shard\nfsdp_config: {fsdp_offload_params: true}", "", "fsdp_offload_params: weights are not moved"},
	} {
		file := write(t, "c.yaml", minimal+c.text+"\n")
		if c.ds != "" {
			if err := os.WriteFile("ds.json", []byte(c.ds), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Load(file, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s:\n%v\nwant %s", c.text, c.ds, err, c.want)
		}
	}
	// Equal settings in both files are not a contradiction.
	write(t, "c.yaml", "")
	mustLoad(t, minimal+`deepspeed:
  gradient_clipping: 1
  bf16: {enabled: false}
  communication_data_type: fp32
  optimizer: {type: AdamW, params: {lr: 5.0e-05, betas: auto, eps: 1.0e-8, weight_decay: auto}}
  amp: {enabled: false}
  zero_optimization: {stage: 1, offload_optimizer: {device: none}}
`)
}

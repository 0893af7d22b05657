package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// Sharding is what the processes of a run shard instead of each keeping all of it, in
// DeepSpeed's stages: nothing (0), the optimizer's state (1), also the gradients (2), and
// also the weights (3).
type Sharding struct {
	Key       string // the key that requested it, deepspeed or fsdp; "" = none
	Stage     int
	BatchSize int // train_batch_size of a DeepSpeed configuration: rows per step; 0 = not given
}

// shard reads deepspeed, fsdp and fsdp_config.
func (c *Config) shard(f *faults) {
	t := &c.Training
	asked := func(v *yamlfile.Value) bool {
		return v != nil && v.Kind != yamlfile.Null && (v.Kind != yamlfile.Bool || v.Bool) && (v.Kind != yamlfile.String || v.Str != "")
	}
	if asked(t.deepspeed) && asked(t.fsdp) {
		f.add(c.Errorf("fsdp", "deepspeed is set at %s: both configure sharding: remove one of the two", c.At("deepspeed")))
		return
	}
	if asked(t.deepspeed) {
		if v, err := c.fileOrMap("deepspeed", t.deepspeed); err != nil {
			f.add(err)
		} else {
			c.readDeepSpeed(v, f)
		}
	}
	if asked(t.fsdp) {
		c.readFSDP(t.fsdp, f)
	}
	if !asked(t.fsdpConfig) {
		return
	}
	if e, ok := c.root.Get("fsdp_config"); ok && t.Sharding.Key != "fsdp" {
		c.notice(e, "has no effect: fsdp is not set")
		return
	}
	if v, err := c.fileOrMap("fsdp_config", t.fsdpConfig); err != nil {
		f.add(err)
	} else {
		c.readFSDPConfig(v, f)
	}
}

// fileOrMap returns the value of a key that is a map or the name of a JSON file of one.
func (c *Config) fileOrMap(key string, v *yamlfile.Value) (*yamlfile.Value, error) {
	if v.Kind == yamlfile.Map {
		return v, nil
	}
	if v.Kind != yamlfile.String {
		return nil, c.Errorf(key, "expected a JSON file's path, or its contents as a map, got %s", v.Describe())
	}
	m, err := yamlfile.Load(v.Str)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, c.Errorf(key, "there is no file %s, relative to the current folder: give its absolute path, or write its keys here as a map", v.Str)
	case err != nil:
		return nil, c.Errorf(key, "%w", err)
	case m.Kind != yamlfile.Map:
		return nil, c.Errorf(key, "%s holds %s, want a map", v.Str, m.Describe())
	}
	return m, nil
}

// rule checks or reads the value of a key of a DeepSpeed or FSDP configuration; why is an
// error about the value, "" if there is none. A nil rule is for keys that do not change what
// is computed.
type rule func(c *Config, v *yamlfile.Value) (why string)

// apply applies to each key of a map its rule; owner names the map in errors.
func (c *Config) apply(owner string, m *yamlfile.Value, rules map[string]rule, f *faults) {
	if m.Kind != yamlfile.Map {
		f.add(m.Pos.Errorf("%s: expected a map, got %s", owner, m.Describe()))
		return
	}
	for _, e := range m.Entries() {
		r, known := rules[e.Key]
		if !known {
			if near, ok := yamlfile.Nearest(e.Key, slices.Sorted(maps.Keys(rules))); ok {
				f.add(e.Pos.Errorf("%s: unknown key %q: did you mean %s?", owner, e.Key, near))
			} else {
				f.add(e.Pos.Errorf("%s: unknown key %q: remove it if it does not change what is computed", owner, e.Key))
			}
			continue
		}
		if r == nil || e.Value.Kind == yamlfile.Null || e.Value.Kind == yamlfile.String && e.Value.Str == "auto" {
			continue
		}
		if why := r(c, e.Value); why != "" {
			f.add(e.Value.Pos.Errorf("%s: %s: %s", owner, e.Key, why))
		}
	}
}

// same refuses a value that contradicts the key of this configuration that decides.
func same(key string, of func(*Config) any) rule {
	return func(c *Config, v *yamlfile.Value) string {
		want := of(c)
		switch w := want.(type) {
		case bool:
			if v.Kind == yamlfile.Bool && v.Bool == w {
				return ""
			}
		case int:
			if x, ok := v.Number(); ok && x == float64(w) {
				return ""
			}
		case float64:
			if x, ok := v.Number(); ok && x == w {
				return ""
			}
		}
		return fmt.Sprintf("it is %s, and %s is %v (%s): write \"auto\", or the same in both", v.Describe(), key, want, c.At(key))
	}
}

// absent refuses a block that is enabled.
func absent(why string) rule {
	return func(_ *Config, v *yamlfile.Value) string {
		off := v.Kind == yamlfile.Bool && !v.Bool
		if x, ok := v.Number(); ok && x == 0 {
			off = true
		}
		if e, ok := v.Get("enabled"); ok && e.Value.Kind == yamlfile.Bool && !e.Value.Bool {
			off = true
		}
		if off || v.Kind == yamlfile.Map && len(v.Entries()) == 0 {
			return ""
		}
		return why
	}
}

// precision checks a block of which only enabled matters here: loss scaling belongs to fp16,
// in which nothing is computed.
func precision(key string, of func(*Config) any) rule {
	return func(c *Config, v *yamlfile.Value) string {
		e, ok := v.Get("enabled")
		if !ok || e.Value.Kind == yamlfile.Null || e.Value.Text == "auto" {
			return ""
		}
		return same(key, of)(c, e.Value)
	}
}

// onlyFloat32 refuses number types that are less precise than float32.
func onlyFloat32(_ *Config, v *yamlfile.Value) string {
	if strings.EqualFold(v.Text, "fp32") || v.Text == "float32" {
		return ""
	}
	return "gradients are added in float32 here: remove it"
}

// offload refuses to move memory to another device.
func offload(what string) rule {
	return func(_ *Config, v *yamlfile.Value) string {
		device := v.Text
		if e, ok := v.Get("device"); ok {
			device = e.Value.Text
		}
		if device == "none" || v.Kind == yamlfile.Bool && !v.Bool {
			return ""
		}
		return notMoved(what)
	}
}

func notMoved(what string) string {
	return what + " are not moved to the host's memory or a disk here: remove it; more processes, gradient_checkpointing, finetuning_type: lora or quantization_bit: 4 need less memory of a device"
}

const otherMaths = "it is not done here, and changes what is computed: remove it"

// deepSpeedKeys are the rules for the keys of a DeepSpeed configuration.
var deepSpeedKeys = map[string]rule{
	"train_batch_size": func(c *Config, v *yamlfile.Value) string {
		if n, ok := v.Int64(); ok && n > 0 && n < 1<<31 {
			c.Training.Sharding.BatchSize = int(n)
			return ""
		}
		return fmt.Sprintf("expected a number of rows, or \"auto\", got %s", v.Describe())
	},
	"train_micro_batch_size_per_gpu": same("per_device_train_batch_size", func(c *Config) any { return c.Training.PerDeviceTrainBatchSize }),
	"gradient_accumulation_steps":    same("gradient_accumulation_steps", func(c *Config) any { return c.Training.GradientAccumulationSteps }),
	"gradient_clipping":              same("max_grad_norm", func(c *Config) any { return c.Training.MaxGradNorm }),
	"bf16":                           precision("bf16", func(c *Config) any { return c.Training.BF16 || c.Tuning.PureBF16 }),
	"fp16":                           precision("fp16", func(c *Config) any { return c.Training.FP16 }),
	"communication_data_type":        onlyFloat32,
	"data_types":                     func(c *Config, v *yamlfile.Value) string { return inner(v, "grad_accum_dtype", onlyFloat32) },
	"optimizer":                      deepSpeedOptimizer,
	"scheduler": func(*Config, *yamlfile.Value) string {
		return "the learning rate follows lr_scheduler_type, warmup_ratio and lr_scheduler_kwargs: remove it"
	},
	"zero_optimization": nil, // its keys are checked one by one

	"amp": absent("NVIDIA's apex is not used here: remove it and write bf16: true into the configuration"), "torch_autocast": absent("write bf16: true into the configuration instead"),
	"curriculum_learning": absent(otherMaths), "data_efficiency": absent(otherMaths), "compression_training": absent(otherMaths), "progressive_layer_drop": absent(otherMaths),
	"quantize_training": absent(otherMaths), "sparse_attention": absent(otherMaths), "tensor_parallel": tensorParallel, "sequence_parallel_size": same("1", func(*Config) any { return 1 }),
	"autotuning": absent("batch sizes are planned before training starts: remove it"), "elasticity": absent("a run resumes on any number of processes that divides its ranks: remove it"),
	"hybrid_engine": absent(otherMaths), "eigenvalue": absent(otherMaths), "sparse_gradients": nil, "pld": absent(otherMaths),

	"zero_allow_untested_optimizer": nil, "zero_force_ds_cpu_optimizer": nil, "prescale_gradients": nil, "gradient_predivide_factor": nil, "steps_per_print": nil,
	"wall_clock_breakdown": nil, "dump_state": nil, "memory_breakdown": nil, "comms_config": nil, "comms_logger": nil, "monitor_config": nil, "csv_monitor": nil, "tensorboard": nil,
	"wandb": nil, "comet": nil, "flops_profiler": nil, "checkpoint": nil, "activation_checkpointing": nil, "disable_allgather": nil, "dataloader_drop_last": nil, "seq_parallel_communication_data_type": nil,
	"graph_harvesting": nil, "compile": nil, "timers": nil, "aio": nil, "use_node_local_storage": nil, "load_universal_checkpoint": nil,
}

// zeroKeys are the rules for the keys of zero_optimization.
var zeroKeys = map[string]rule{
	"stage": func(c *Config, v *yamlfile.Value) string {
		n, ok := v.Int64()
		if !ok || n < 0 || n > 3 {
			return fmt.Sprintf("it is 0, 1, 2 or 3, not %s", v.Describe())
		}
		c.Training.Sharding.Stage = int(n)
		return ""
	},
	"offload_optimizer": offload("the optimizer's states"), "cpu_offload": offload("the optimizer's states"), "cpu_offload_use_pin_memory": nil,
	"offload_param": offload("weights"), "cpu_offload_params": offload("weights"), "super_offload": offload("the optimizer's states"), "zenflow": absent(otherMaths),
	"zero_quantized_weights": absent(otherMaths), "zero_quantized_nontrainable_weights": absent(otherMaths), "zero_quantized_gradients": absent(otherMaths), "zeropp_loco_param": absent(otherMaths),

	"allgather_partitions": nil, "allgather_bucket_size": nil, "overlap_comm": nil, "reduce_scatter": nil, "reduce_bucket_size": nil, "contiguous_gradients": nil, "round_robin_gradients": nil,
	"use_multi_rank_bucket_allreduce": nil, "load_from_fp32_weights": nil, "elastic_checkpoint": nil, "sub_group_size": nil, "stage3_prefetch_bucket_size": nil, "prefetch_bucket_size": nil,
	"stage3_param_persistence_threshold": nil, "param_persistence_threshold": nil, "stage3_model_persistence_threshold": nil, "model_persistence_threshold": nil, "stage3_max_live_parameters": nil, "max_live_parameters": nil,
	"stage3_max_reuse_distance": nil, "max_reuse_distance": nil, "stage3_gather_16bit_weights_on_model_save": nil, "gather_16bit_weights_on_model_save": nil, "stage3_gather_fp16_weights_on_model_save": nil,
	"stage3_use_all_reduce_for_fetch_params": nil, "stage3_module_granularity_threshold": nil, "stage3_allgather_sequential": nil, "use_all_reduce_for_fetch_params": nil, "ignore_unused_parameters": nil, "legacy_stage1": nil,
	"zero_hpz_partition_size": nil, "memory_efficient_linear": nil, "pipeline_loading_checkpoint": nil, "override_module_apply": nil, "mics_shard_size": nil, "mics_hierarchical_params_gather": nil,
	"log_trace_cache_warnings": nil, "leaf_module": nil, "module_granularity_threshold": nil,
}

func (c *Config) readDeepSpeed(m *yamlfile.Value, f *faults) {
	c.Training.Sharding.Key = "deepspeed"
	c.apply("deepspeed", m, deepSpeedKeys, f)
	if zero, ok := m.Get("zero_optimization"); ok && zero.Value.Kind != yamlfile.Null {
		c.apply("deepspeed: zero_optimization", zero.Value, zeroKeys, f)
	}
}

// inner applies a rule to a key of a block.
func inner(v *yamlfile.Value, key string, r rule) string {
	if e, ok := v.Get(key); ok && e.Value.Kind != yamlfile.Null {
		return r(nil, e.Value)
	}
	return ""
}

// tensorParallel refuses to split matrices over devices; autotp_size 1 does not split them.
func tensorParallel(_ *Config, v *yamlfile.Value) string {
	if e, ok := v.Get("autotp_size"); ok {
		if n, whole := e.Value.Int64(); whole && n <= 1 {
			return ""
		}
	}
	return "matrices are not split over devices here: remove it; zero_optimization with stage 2 shards the memory that training needs in addition to the model's, with stage 3 the model's as well"
}

// deepSpeedOptimizer accepts an optimizer block that agrees with optim and its keys.
func deepSpeedOptimizer(c *Config, v *yamlfile.Value) string {
	kind, _ := v.Get("type")
	t := c.Training
	if kind.Value == nil || !slices.Contains([]string{"adam", "adamw"}, strings.ToLower(kind.Value.Text)) || !strings.Contains(t.Optim, "adamw") || c.Tuning.UseMuon {
		return fmt.Sprintf("optim decides, which is %s (%s): remove it", t.Optim, c.At("optim"))
	}
	params, ok := v.Get("params")
	if !ok {
		return ""
	}
	betas := func(c *Config, v *yamlfile.Value) string {
		if len(v.Items) != 2 {
			return "expected two numbers"
		}
		for i, r := range []rule{same("adam_beta1", func(c *Config) any { return c.Training.AdamBeta1 }), same("adam_beta2", func(c *Config) any { return c.Training.AdamBeta2 })} {
			if x := v.Items[i]; x.Text != "auto" {
				if why := r(c, x); why != "" {
					return why
				}
			}
		}
		return ""
	}
	var f faults
	c.apply("deepspeed: optimizer", params.Value, map[string]rule{
		"lr": same("learning_rate", func(c *Config) any { return c.Training.LearningRate }), "betas": betas,
		"eps":          same("adam_epsilon", func(c *Config) any { return c.Training.AdamEpsilon }),
		"weight_decay": same("weight_decay", func(c *Config) any { return c.Training.WeightDecay }),
		"torch_adam":   nil, "adam_w_mode": same("adam_w_mode", func(*Config) any { return true }),
	}, &f)
	if err := f.err(); err != nil {
		return err.Error()
	}
	return ""
}

// readFSDP reads the options of fsdp.
func (c *Config) readFSDP(v *yamlfile.Value, f *faults) {
	s := &c.Training.Sharding
	s.Key = "fsdp"
	var words []string
	switch v.Kind {
	case yamlfile.Bool: // true, as transformers reads it
		words = []string{"full_shard"}
	case yamlfile.List:
		for _, item := range v.Items {
			words = append(words, item.Text)
		}
	default:
		words = strings.Fields(v.Text)
	}
	stages := map[string]int{"full_shard": 3, "shard_grad_op": 2, "no_shard": 0}
	chosen := ""
	for _, w := range words {
		stage, shards := stages[w]
		switch {
		case shards && chosen != "":
			f.add(c.Errorf("fsdp", "%s and %s exclude each other: remove one", chosen, w))
		case shards:
			chosen, s.Stage = w, stage
		case w == "auto_wrap":
		case w == "offload":
			f.add(c.Errorf("fsdp", "offload: %s", offload("weights")(c, v)))
		case w == "hybrid_shard" || w == "hybrid_shard_zero2":
			f.add(c.Errorf("fsdp", "%s replicates the shards on every machine, which is not supported here: write full_shard or shard_grad_op", w))
		default:
			f.add(c.Errorf("fsdp", "%q is unknown, known are: full_shard, shard_grad_op, no_shard, auto_wrap", w))
		}
	}
}

// readFSDPConfig reads fsdp_config, whose keys may begin with fsdp_.
func (c *Config) readFSDPConfig(m *yamlfile.Value, f *faults) {
	checkpointing := func(c *Config, v *yamlfile.Value) string {
		if v.Kind != yamlfile.Bool {
			return fmt.Sprintf("expected true or false, got %s", v.Describe())
		}
		c.Training.GradientCheckpointing = c.Training.GradientCheckpointing || v.Bool
		return ""
	}
	rules := map[string]rule{"activation_checkpointing": checkpointing, "offload_params": absent(notMoved("weights")), "cpu_offload": absent(notMoved("weights")), "mixed_precision_policy": absent("write bf16: true into the configuration instead")}
	for _, key := range []string{
		"min_num_params", "transformer_layer_cls_to_wrap", "auto_wrap_policy", "backward_prefetch", "backward_prefetch_policy", "forward_prefetch", "limit_all_gathers", "use_orig_params", "sync_module_states",
		"cpu_ram_efficient_loading", "xla", "xla_fsdp_settings", "xla_fsdp_v2", "xla_fsdp_grad_ckpt", "state_dict_type", "version", "reshard_after_forward", "sharding_strategy",
	} {
		rules[key] = nil
	}
	for key, r := range rules {
		rules["fsdp_"+key] = r
	}
	c.apply("fsdp_config", m, rules, f)
}

package config

const (
	oneProcess  = "NCCL or MPI connects the processes"
	torchDetail = "it names a detail of PyTorch or CUDA"
	loaderNote  = "rows are in memory before training starts"
	hubNote     = "nothing is uploaded here; output_dir is a whole Hugging Face folder: `hf upload NAME output_dir` puts it on the hub"
)

func trainingKeys() []Key {
	g := group{name: "Training"}
	g.honour("output_dir", Text, "null", "Where everything is written", func(c *Config) any { return &c.Training.OutputDir })
	g.honour("overwrite_output_dir", Bool, "false", "Start anew in a used output_dir", func(c *Config) any { return &c.Training.OverwriteOutputDir })
	g.honour("do_train", Bool, "false", "Train", func(c *Config) any { return &c.Training.DoTrain })
	g.honour("do_eval", Bool, "false", "Evaluate once after training", func(c *Config) any { return &c.Training.DoEval })
	g.honour("do_predict", Bool, "false", "Answer eval_dataset at the end: generated_predictions.jsonl and predict_results.json", func(c *Config) any { return &c.Training.DoPredict })
	g.honour("predict_with_generate", Bool, "false", "do_predict writes texts, which is the one thing that it does", func(c *Config) any { return &c.Training.PredictWithGenerate })
	g.honour("eval_strategy", Text, "no", "When to evaluate [no steps epoch]", func(c *Config) any { return &c.Training.EvalStrategy })
	g.honour("eval_steps", Float, "null", "Steps between evaluations, a share of the run below 1; null = logging_steps", func(c *Config) any { return &c.Training.intervals[1] })
	g.honour("eval_delay", Float, "0", "Steps or epochs before the first evaluation", func(c *Config) any { return &c.Training.EvalDelay })
	g.honour("eval_on_start", Bool, "false", "Evaluate before training", func(c *Config) any { return &c.Training.EvalOnStart })
	g.honour("per_device_train_batch_size", Int, "8", "Rows of a micro-batch", func(c *Config) any { return &c.Training.PerDeviceTrainBatchSize })
	g.honour("per_device_eval_batch_size", Int, "8", "Rows of an evaluation batch", func(c *Config) any { return &c.Training.PerDeviceEvalBatchSize })
	g.honour("gradient_accumulation_steps", Int, "1", "Micro-batches of an optimizer step", func(c *Config) any { return &c.Training.GradientAccumulationSteps })
	g.honour("learning_rate", Float, "5e-5", "Peak learning rate", func(c *Config) any { return &c.Training.LearningRate })
	g.honour("weight_decay", Float, "0.0", "Decoupled weight decay, not of biases and norms; with use_muon of everything", func(c *Config) any { return &c.Training.WeightDecay })
	g.honour("adam_beta1", Float, "0.9", "Decay of the first moment", func(c *Config) any { return &c.Training.AdamBeta1 })
	g.honour("adam_beta2", Float, "0.999", "Decay of the second moment", func(c *Config) any { return &c.Training.AdamBeta2 })
	g.honour("adam_epsilon", Float, "1e-8", "Added to the root of the second moment", func(c *Config) any { return &c.Training.AdamEpsilon })
	g.honour("max_grad_norm", Float, "1.0", "Global gradient norm above which to clip; 0 or less = never", func(c *Config) any { return &c.Training.MaxGradNorm })
	g.honour("num_train_epochs", Float, "3.0", "Passes over the data", func(c *Config) any { return &c.Training.NumTrainEpochs })
	g.honour("max_steps", Int, "-1", "Optimizer steps; above 0 it overrides the epochs", func(c *Config) any { return &c.Training.MaxSteps })
	g.honour("lr_scheduler_type", Text, "linear", "Shape of the learning rate [linear cosine cosine_with_restarts polynomial constant constant_with_warmup inverse_sqrt "+
		"reduce_lr_on_plateau cosine_with_min_lr cosine_warmup_with_min_lr warmup_stable_decay]", func(c *Config) any { return &c.Training.LRSchedulerType })
	g.honour("lr_scheduler_kwargs", Map, "null", "Extra parameters of that shape", func(c *Config) any { return &c.Training.LRSchedulerKwargs })
	g.honour("warmup_ratio", Float, "0.0", "Share of the run the learning rate warms up in", func(c *Config) any { return &c.Training.WarmupRatio })
	g.honour("warmup_steps", Int, "0", "Steps the learning rate warms up in; above 0 it overrides warmup_ratio", func(c *Config) any { return &c.Training.WarmupSteps })
	g.honour("optim", Text, "adamw_torch", "The optimizer: adamw_torch, sgd, adafactor, lion_32bit and the names upstream has for kinds of them", func(c *Config) any { return &c.Training.Optim })
	g.honour("bf16", Bool, "false", "Matrix products in bf16 where the device has them", func(c *Config) any { return &c.Training.BF16 })
	g.honour("fp16", Bool, "false", "Matrix products in fp16 where the device has them", func(c *Config) any { return &c.Training.FP16 })
	g.honour("logging_strategy", Text, "steps", "When to log [no steps epoch]", func(c *Config) any { return &c.Training.LoggingStrategy })
	g.honour("logging_steps", Float, "500", "Steps between log lines, a share of the run below 1", func(c *Config) any { return &c.Training.intervals[0] })
	g.honour("logging_first_step", Bool, "false", "Log the first step, too", func(c *Config) any { return &c.Training.LoggingFirstStep })
	g.honour("logging_nan_inf_filter", Bool, "true", "Leave NaN and infinite losses out of the log", func(c *Config) any { return &c.Training.LoggingNaNInfFilter })
	g.honour("save_strategy", Text, "steps", "When to save [no steps epoch best]", func(c *Config) any { return &c.Training.SaveStrategy })
	g.honour("save_steps", Float, "500", "Steps between checkpoints, a share of the run below 1", func(c *Config) any { return &c.Training.intervals[2] })
	g.honour("replay_every", Int, "0", "Every so many steps forward and backward are computed twice and must agree in every bit; 0 = never", func(c *Config) any { return &c.Training.ReplayEvery })
	g.honour("merge_tokens", Int, "null", "Tokens of a step's micro-batches that share a pass through the model, to the same bits: more memory, and a GPU is faster; 0 = each has its own; null = 8192 on a GPU, or what fits, and 0 on a CPU",
		func(c *Config) any { return &c.Training.MergeTokens })
	g.honour("save_total_limit", Int, "null", "Checkpoints kept", func(c *Config) any { return &c.Training.SaveTotalLimit })
	g.honour("save_only_model", Bool, "false", "Checkpoints without optimiser state", func(c *Config) any { return &c.Training.SaveOnlyModel })
	g.honour("load_best_model_at_end", Bool, "false", "Leave the best checkpoint's weights in output_dir", func(c *Config) any { return &c.Training.LoadBestModelAtEnd })
	g.honour("metric_for_best_model", Text, "null", "What best means", func(c *Config) any { return &c.Training.MetricForBestModel })
	g.honour("greater_is_better", Bool, "null", "Whether more of it is better; null = unless it ends in loss", func(c *Config) any { return &c.Training.greater })
	g.honour("seed", Int, "42", "Seed of everything random", func(c *Config) any { return &c.Training.Seed })
	g.honour("data_seed", Int, "null", "Seed of the order of rows; null = seed", func(c *Config) any { return &c.Training.DataSeed })
	g.honour("dataloader_drop_last", Bool, "false", "Drop a short last batch", func(c *Config) any { return &c.Training.DataloaderDropLast })
	g.honour("group_by_length", Bool, "false", "Batches of rows of similar length", func(c *Config) any { return &c.Training.GroupByLength })
	g.honour("label_smoothing_factor", Float, "0.0", "Share of the target spread over the vocabulary", func(c *Config) any { return &c.Training.LabelSmoothingFactor })
	g.honour("neftune_noise_alpha", Float, "null", "Noise on the embeddings while training", func(c *Config) any { return &c.Training.NEFTuneNoiseAlpha })
	g.honour("resume_from_checkpoint", Mixed, "null", "true = the newest checkpoint of output_dir, or a folder", func(c *Config) any { return &c.Training.ResumeFromCheckpoint })
	g.honour("ignore_data_skip", Bool, "false", "On resume, start the epoch's data from the beginning", func(c *Config) any { return &c.Training.IgnoreDataSkip })
	g.honour("report_to", List, "null", "Where else to log: none, tensorboard, mlflow (file store: MLFLOW_TRACKING_URI, else mlruns)", func(c *Config) any { return &c.Training.ReportTo })
	g.honour("run_name", Text, "null", "Name of the run; null = output_dir", func(c *Config) any { return &c.Training.RunName })
	g.honour("logging_dir", Text, "null", "Folder of TensorBoard's files; null = output_dir/runs", func(c *Config) any { return &c.Training.LoggingDir })
	g.honour("average_tokens_across_devices", Bool, "false", "With ranks: divide a step's loss by the labels of all ranks, instead of each rank's by its own",
		func(c *Config) any { return &c.Training.AverageTokens })
	g.honour("gradient_checkpointing", Bool, "false", "Compute each layer again in the backward pass instead of keeping its activations; false = where the memory is needed",
		func(c *Config) any { return &c.Training.GradientCheckpointing })
	g.honour("ddp_timeout", Int, "1800", "Seconds that a rank waits for the others in one call, before the run ends and says who was missing", func(c *Config) any { return &c.Training.DDPTimeout })
	g.honour("use_cpu", Bool, "false", "The CPU even where a GPU is", func(c *Config) any { return &c.Training.UseCPU })
	g.honour("include_num_input_tokens_seen", Mixed, "false", "Count tokens seen: true or all with padding, non_padding without", func(c *Config) any { return &c.Training.IncludeNumInputTokensSeen })

	g.honour("deepspeed", Mixed, "null", "A DeepSpeed configuration, as a JSON file or a map: the processes share out by the stage of its zero_optimization, 1 the optimizer's state, 2 gradients, too",
		func(c *Config) any { return &c.Training.deepspeed })
	g.honour("fsdp", Mixed, "null", "The same in the words of PyTorch's FSDP: shard_grad_op is stage 2, full_shard stage 3, no_shard 0", func(c *Config) any { return &c.Training.fsdp })
	g.honour("fsdp_config", Mixed, "null", "Details of fsdp, of which activation_checkpointing has an effect here", func(c *Config) any { return &c.Training.fsdpConfig })
	g.ignore("weights are cut at fixed places, whatever layers there are", "fsdp_min_num_params int 0", "fsdp_transformer_layer_cls_to_wrap string null")
	g.ignore(oneProcess, "accelerator_config any null", "ddp_backend string null", "ddp_find_unused_parameters bool null", "ddp_bucket_cap_mb int null",
		"ddp_broadcast_buffers bool null", "ddp_static_graph bool null", "local_rank int -1", "_n_gpu int -1", "mp_parameters string null", "tpu_num_cores int null",
		"tpu_metrics_debug bool false", "log_on_each_node bool true", "save_on_each_node bool false", "ray_scope string last", "ray_run_name string null",
		"ray_storage_path string ./saves", "ray_storage_filesystem string null", "ray_num_workers int 1", "resources_per_worker any null",
		"placement_strategy string PACK", "ray_init_kwargs any null")
	g.ignore(torchDetail, "tf32 bool null", "half_precision_backend string auto", "fp16_backend string auto", "fp16_opt_level string O1", "bf16_full_eval bool false",
		"fp16_full_eval bool false", "jit_mode_eval bool false", "use_ipex bool false", "use_mps_device bool false", "torchdynamo string null", "torch_compile bool false",
		"torch_compile_backend string null", "torch_compile_mode string null", "torch_empty_cache_steps int null", "use_liger_kernel bool false",
		"liger_kernel_config any null", "gradient_checkpointing_kwargs any null", "debug any null", "optim_args string null", "optim_target_modules any null",
		"skip_memory_metrics bool true", "eval_do_concat_batches bool true", "eval_use_gather_object bool false", "batch_eval_metrics bool false",
		"use_legacy_prediction_loop bool false", "past_index int -1", "sortish_sampler bool false", "eval_accumulation_steps int null",
		"include_inputs_for_metrics bool false", "include_for_metrics any null", "prediction_loss_only bool false", "label_names any null",
		"restore_callback_states_from_checkpoint bool false", "disable_tqdm bool null", "log_level string passive", "log_level_replica string warning")
	g.ignore(loaderNote, "dataloader_num_workers int 0", "dataloader_pin_memory bool true", "dataloader_persistent_workers bool false", "dataloader_prefetch_factor int null",
		"remove_unused_columns bool true", "length_column_name string length")
	g.ignore("every run is deterministic", "full_determinism bool false")
	g.ignore("train_tokens_per_second is always reported", "include_tokens_per_second bool false")
	g.ignore("safetensors are always written", "save_safetensors bool true")
	g.ignore("upstream deprecates it: use_cpu is read", "no_cuda bool false")
	g.unmet(hubNote, "push_to_hub bool false", "push_to_hub_model_id string null", "push_to_hub_organization string null", "push_to_hub_token string null",
		"hub_model_id string null", "hub_strategy string every_save", "hub_token string null", "hub_private_repo bool null", "hub_always_push bool false", "hub_revision string null",
		"trackio_space_id string null", "trackio_bucket_id string null", "trackio_static_space_id any null", "project string null")
	g.ignore("max_new_tokens is read, and predictions are not made by beam search", "generation_max_length int null", "generation_num_beams int null", "generation_config any null")

	g.refuse("transformers 5's way of writing it: write group_by_length: true, or disable_shuffling: true", "train_sampling_strategy string random")
	g.refuse("upstream deprecates it: write optim: adafactor", "adafactor bool false")
	g.refuse("batch sizes are planned before training starts: remove it and set per_device_train_batch_size", "auto_find_batch_size bool false")
	g.refuse("upstream deprecates it: write per_device_train_batch_size", "per_gpu_train_batch_size int null")
	g.refuse("upstream deprecates it: write per_device_eval_batch_size", "per_gpu_eval_batch_size int null")
	g.ignore("it profiles PyTorch, which is not used here", "enable_torch_profiler bool false", "profiler_output_dir string null", "profiler_wait_steps int 1",
		"profiler_warmup_steps int 1", "profiler_active_steps int 1", "profiler_repeat int 1", "profiler_record_shapes bool true", "profiler_profile_memory bool true",
		"profiler_with_stack bool true", "profile_modules string null")
	g.ignore("every run saves when it is interrupted", "enable_jit_checkpoint bool false")
	g.ignore("generation keeps its keys and values in a cache whatever it says, training needs none", "use_cache bool false")
	g.refuse("deepspeed or fsdp configures the sharding, and MASTER_ADDR and MASTER_PORT the address where processes meet: remove it", "parallelism_config any null", "master_addr string null", "master_port string null")
	return g.keys
}

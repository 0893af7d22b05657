package config

const rlhf = "it matters to preference and reward training only"

func tuningKeys() []Key {
	g := group{name: "Finetuning"}
	g.honour("stage", Text, "sft", "What is learnt [pt sft rm ppo dpo kto]", func(c *Config) any { return &c.Tuning.Stage })
	g.honour("finetuning_type", Text, "lora", "Which weights are trained [lora oft freeze full]", func(c *Config) any { return &c.Tuning.FinetuningType })
	g.honour("lora_rank", Int, "8", "Rank of the LoRA matrices", func(c *Config) any { return &c.Tuning.LoRARank })
	g.honour("lora_alpha", Float, "null", "LoRA's scale times its rank; null or 0 = twice the rank", func(c *Config) any { return &c.Tuning.LoRAAlpha })
	g.honour("lora_dropout", Float, "0.0", "Dropout before LoRA's A", func(c *Config) any { return &c.Tuning.LoRADropout })
	g.honour("lora_target", List, "all", "Modules that get LoRA; all = every linear one but the head", func(c *Config) any { return &c.Tuning.LoRATarget })
	g.honour("additional_target", List, "null", "Modules trained in full beside LoRA", func(c *Config) any { return &c.Tuning.AdditionalTarget })
	g.honour("use_rslora", Bool, "false", "Scale by alpha/sqrt(rank)", func(c *Config) any { return &c.Tuning.UseRSLoRA })
	g.honour("loraplus_lr_ratio", Float, "null", "LoRA+: learning rate of B over that of A", func(c *Config) any { return &c.Tuning.LoRAPlusLRRatio })
	g.honour("use_muon", Bool, "false", "Muon for matrices, AdamW for the rest", func(c *Config) any { return &c.Tuning.UseMuon })
	g.honour("use_dora", Bool, "false", "DoRA: train a magnitude of every output beside LoRA", func(c *Config) any { return &c.Tuning.UseDoRA })
	g.honour("pissa_init", Bool, "false", "PiSSA: start LoRA as the weights' principal parts", func(c *Config) any { return &c.Tuning.PiSSAInit })
	g.honour("pissa_iter", Int, "16", "Written into adapter_config.json; the principal parts are exact", func(c *Config) any { return &c.Tuning.PiSSAIter })
	g.honour("pissa_convert", Bool, "false", "At the end, write PiSSA's adapter as one of plain LoRA, too", func(c *Config) any { return &c.Tuning.PiSSAConvert })
	g.honour("loraplus_lr_embedding", Float, "1e-6", "LoRA+: learning rate of embeddings", func(c *Config) any { return &c.Tuning.LoRAPlusLREmbedding })
	g.honour("create_new_adapter", Bool, "false", "Merge the adapter and train a new one", func(c *Config) any { return &c.Tuning.CreateNewAdapter })
	g.honour("freeze_trainable_layers", Int, "2", "freeze: the last n layers train, the first n if negative", func(c *Config) any { return &c.Tuning.FreezeTrainableLayers })
	g.honour("freeze_trainable_modules", List, "all", "freeze: the modules of those layers that train", func(c *Config) any { return &c.Tuning.FreezeTrainableModules })
	g.honour("freeze_extra_modules", List, "null", "freeze: modules outside layers that train too", func(c *Config) any { return &c.Tuning.FreezeExtraModules })
	g.honour("pure_bf16", Bool, "false", "bf16 weights and optimiser, no fp32 copy", func(c *Config) any { return &c.Tuning.PureBF16 })
	g.honour("compute_accuracy", Bool, "false", "Token accuracy at evaluation", func(c *Config) any { return &c.Tuning.ComputeAccuracy })
	g.honour("disable_shuffling", Bool, "false", "Train in the order of the data", func(c *Config) any { return &c.Tuning.DisableShuffling })
	g.honour("early_stopping_steps", Int, "null", "Evaluations without improvement before stopping", func(c *Config) any { return &c.Tuning.EarlyStoppingSteps })
	g.honour("plot_loss", Bool, "false", "Draw the loss curve", func(c *Config) any { return &c.Tuning.PlotLoss })
	g.honour("include_effective_tokens_per_second", Bool, "false", "Also report tokens per second without padding",
		func(c *Config) any { return &c.Tuning.IncludeEffectiveTokensPerSecond })

	g.ignore(multimodal, "freeze_vision_tower bool true", "freeze_multi_modal_projector bool true")
	g.refuse("only the language model of a multimodal model is trained here: remove it", "freeze_language_model bool false")
	g.ignore(rlhf, "pref_beta float 0.1", "pref_ftx float 0.0", "pref_bco_weight float 0.0", "pref_loss string sigmoid", "dpo_label_smoothing float 0.0",
		"kto_chosen_weight float 1.0", "kto_rejected_weight float 1.0", "simpo_gamma float 0.5", "ppo_buffer_size int 1", "ppo_epochs int 4",
		"ppo_score_norm bool false", "ppo_target float 6.0", "ppo_whiten_rewards bool false", "ref_model string null", "ref_model_adapters string null",
		"ref_model_quantization_bit int null", "reward_model string null", "reward_model_adapters string null", "reward_model_quantization_bit int null",
		"reward_model_type string lora", "ld_alpha float null")
	g.ignore("it is read with finetuning_type oft only", "module_dropout float 0.0", "oft_rank int 0", "oft_block_size int 32", "oft_target list all")
	g.ignore("it is read with use_galore only", "galore_target list all", "galore_rank int 16", "galore_update_interval int 200", "galore_scale float 2.0",
		"galore_proj_type string std", "galore_layerwise bool false")
	g.ignore("it is read with use_apollo only", "apollo_target list all", "apollo_rank int 16", "apollo_update_interval int 200", "apollo_scale float 32.0",
		"apollo_proj string random", "apollo_proj_type string std", "apollo_scale_type string channel", "apollo_layerwise bool false", "apollo_scale_front bool false")
	g.ignore("it is read with use_badam only", "badam_mode string layer", "badam_start_block int null", "badam_switch_mode string ascending",
		"badam_switch_interval int 50", "badam_update_ratio float 0.05", "badam_mask_mode string adjacent", "badam_verbose int 0")
	g.unmet("SwanLab is not connected; report_to: tensorboard writes files that SwanLab imports (`swanlab convert -t tensorboard`), and trainer_log.jsonl has every value", "use_swanlab bool false", "swanlab_project string llamafactory",
		"swanlab_workspace string null", "swanlab_run_name string null", "swanlab_mode string cloud", "swanlab_api_key string null", "swanlab_logdir string null",
		"swanlab_lark_webhook_url string null", "swanlab_lark_secret string null")

	g.refuse("block expansion (LLaMA-Pro) is not supported here: remove it", "use_llama_pro bool false")
	g.refuse("this optimizer is not supported here: remove it; optim: adamw_torch, adafactor, lion_32bit and sgd are, and use_muon: true", "use_galore bool false", "use_apollo bool false", "use_badam bool false", "use_adam_mini bool false")
	g.refuse("the DFT loss is not supported here: remove it", "use_dft_loss bool false")
	g.refuse("the ASFT loss is not supported here: remove it", "use_asft_loss bool false")
	g.refuse("the EAFT loss is not supported here: remove it", "use_eaft_loss bool false")
	g.refuse("HyperParallel is not supported here: remove it", "use_hyper_parallel bool false", "hyper_parallel_args string null", "hyper_parallel_cp_size int 1")
	g.ignore("it is read with use_asft_loss only", "asft_alpha float 0.1")
	g.ignore("it is read with use_eaft_loss only", "eaft_alpha float 1.0")
	g.refuse("Megatron is not supported here: remove it", "use_mca bool false", "use_megatron_bridge bool false")
	return g.keys
}

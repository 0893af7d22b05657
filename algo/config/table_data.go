package config

func dataKeys() []Key {
	g := group{name: "Data"}
	g.honour("template", Text, "null", "Name of the chat template; null = the tokenizer's own", func(c *Config) any { return &c.Data.Template })
	g.honour("dataset", List, "null", "Names in dataset_info.json to train on", func(c *Config) any { return &c.Data.Dataset })
	g.honour("eval_dataset", List, "null", "Names in dataset_info.json to evaluate on", func(c *Config) any { return &c.Data.EvalDataset })
	g.honour("dataset_dir", Mixed, "data", "Folder of dataset_info.json, or its contents as a map", func(c *Config) any { return &c.Data.DatasetInfo })
	g.honour("cutoff_len", Int, "2048", "Most tokens of an example", func(c *Config) any { return &c.Data.CutoffLen })
	g.honour("train_on_prompt", Bool, "false", "Also learn the prompt", func(c *Config) any { return &c.Data.TrainOnPrompt })
	g.honour("mask_history", Bool, "false", "Learn the last turn only", func(c *Config) any { return &c.Data.MaskHistory })
	g.honour("streaming", Bool, "false", "Read data as it is needed; needs max_steps", func(c *Config) any { return &c.Data.Streaming })
	g.honour("buffer_size", Int, "16384", "Rows a streaming shuffle draws from", func(c *Config) any { return &c.Data.BufferSize })
	g.honour("mix_strategy", Text, "concat", "How several datasets become one [concat interleave_under interleave_over interleave_once]", func(c *Config) any { return &c.Data.MixStrategy })
	g.honour("interleave_probs", Floats, "null", "Share of each dataset when interleaving", func(c *Config) any { return &c.Data.InterleaveProbs })
	g.honour("overwrite_cache", Bool, "false", "Tokenise again even if cached", func(c *Config) any { return &c.Data.OverwriteCache })
	g.honour("preprocessing_batch_size", Int, "1000", "Rows packed together", func(c *Config) any { return &c.Data.PreprocessingBatchSize })
	g.honour("preprocessing_num_workers", Int, "null", "Upstream's processes: decides the blocks of packed data", func(c *Config) any { return &c.Data.PreprocessingWorkers })
	g.honour("max_samples", Int, "null", "First rows kept of each dataset", func(c *Config) any { return &c.Data.MaxSamples })
	g.honour("ignore_pad_token_for_loss", Bool, "true", "Padding is not learnt", func(c *Config) any { return &c.Data.IgnorePadTokenForLoss })
	g.honour("val_size", Float, "0.0", "Rows held out for evaluation: a share below 1, a count above", func(c *Config) any { return &c.Data.ValSize })
	g.honour("eval_on_each_dataset", Bool, "false", "Evaluate each dataset by itself", func(c *Config) any { return &c.Data.EvalOnEachDataset })
	g.honour("packing", Bool, "null", "Fill examples up to cutoff_len; null = in pre-training only", func(c *Config) any { return &c.Data.Packing })
	g.honour("neat_packing", Bool, "false", "Packing without attention across samples", func(c *Config) any { return &c.Data.NeatPacking })
	g.honour("tool_format", Text, "null", "Overrides the template's way of writing tools", func(c *Config) any { return &c.Data.ToolFormat })
	g.honour("default_system", Text, "null", "Overrides the template's system prompt", func(c *Config) any { return &c.Data.DefaultSystem })
	g.honour("enable_thinking", Bool, "true", "Thinking mode of reasoning templates", func(c *Config) any { return &c.Data.EnableThinking })
	g.honour("preserve_thinking", Bool, "null", "Keep the thoughts of earlier answers in the prompt when generating, and with mask_history; null = with mask_history, in the templates of LLaMA-Factory 0.9.4", func(c *Config) any { return &c.Data.PreserveThinking })
	g.honour("tokenized_path", Text, "null", "Folder the tokenised data is kept in", func(c *Config) any { return &c.Data.TokenizedPath })

	g.ignore(multimodal, "media_dir string null")
	g.ignore("answers are not made by beam search", "eval_num_beams int null")
	g.ignore("one process reads the data", "data_shared_file_system bool false")
	return g.keys
}

func dynamicKeys() []Key {
	g := group{name: "DataFlex"}
	g.honour("train_type", Text, "static", "What is decided while training [static dynamic_select dynamic_mix dynamic_weight dynamic_reorder dynamic_lego]",
		func(c *Config) any { return &c.Dynamic.TrainType })
	g.honour("components_cfg_file", Text, "configs/components.yaml", "YAML of components and their parameters", func(c *Config) any { return &c.Dynamic.ComponentsCfgFile })
	g.honour("component_name", Text, "null", "The component that decides", func(c *Config) any { return &c.Dynamic.ComponentName })
	g.honour("warmup_step", Int, "0", "Steps before the first decision (not the learning rate's warmup_steps)", func(c *Config) any { return &c.Dynamic.WarmupStep })
	g.honour("update_step", Int, "0", "Steps between decisions", func(c *Config) any { return &c.Dynamic.UpdateStep })
	g.honour("update_times", Int, "1", "Decisions per Flex epoch; 0 or less = no fixed number", func(c *Config) any { return &c.Dynamic.UpdateTimes })
	g.honour("train_step", Int, "0", "Total steps; 0 = from num_train_epochs", func(c *Config) any { return &c.Dynamic.TrainStep })
	g.honour("static_mix", Bool, "false", "Keep the initial mixture", func(c *Config) any { return &c.Dynamic.StaticMix })
	g.honour("freeze_gate", Bool, "false", "Do not train the gates of a mixture-of-experts model", func(c *Config) any { return &c.Dynamic.FreezeGate })
	g.honour("early_stopping_min_delta", Float, "0.0", "Least improvement that counts", func(c *Config) any { return &c.Tuning.EarlyStoppingMinDelta })
	g.honour("mixture_sample_rule", Text, "null", "How a mixture is drawn [mixture stratified uniform]", func(c *Config) any { return &c.Data.MixtureSampleRule })
	g.honour("init_mixture_proportions", Floats, "null", "Share of each domain at the start, scaled to sum to 1", func(c *Config) any { return &c.Data.InitMixtureProportions })
	g.honour("mixer_eval_dataset", List, "null", "Evaluation sets of the mixer; X_eval belongs to domain X", func(c *Config) any { return &c.Data.MixerEvalDataset })
	g.honour("ranks", Int, "1", "Train as that many processes of LLaMA-Factory would, on as many processes as divide it: batches dealt out in turn, each rank's loss by its own labels; not given = the number of processes",
		func(c *Config) any { return &c.Training.Ranks })
	g.honour("reduction", Text, "tree", "How several ranks' gradients are added [tree fast]: tree gives the same bits on any number of processes, fast is the connecting library's own way",
		func(c *Config) any { return &c.Training.Reduction })
	return g.keys
}

package config

// The tables follow LLaMA-Factory 0.9.4's hparams, transformers 4.52's training arguments
// and DataFlex 1.1's additions; names and defaults are theirs.

const (
	noNetwork  = "nothing is downloaded or uploaded here"
	oneBackend = "it chooses another acceleration library; there is one set of kernels here"
	inference  = "it matters to inference servers only"
	multimodal = "it matters to images, video and audio only"
)

func modelKeys() []Key {
	g := group{name: "Model"}
	g.honour("model_name_or_path", Text, "null", "Folder of a Hugging Face model, its name on a hub that dataflex-cli download has fetched, or a GGUF file of a llama, qwen2 or qwen3", func(c *Config) any { return &c.Model.NameOrPath })
	g.honour("model_revision", Text, "main", "Branch, tag or commit of a model that is named by its name on a hub", func(c *Config) any { return &c.Model.Revision })
	g.honour("cache_dir", Text, "null", "Hugging Face's cache, where models are found by name; null = as HF_HUB_CACHE and HF_HOME say", func(c *Config) any { return &c.Model.CacheDir })
	g.honour("adapter_name_or_path", List, "null", "PEFT adapter folders, merged in order, the last one trained on", func(c *Config) any { return &c.Model.AdapterNameOrPath })
	g.honour("adapter_folder", Text, "null", "Subfolder inside the adapter folder", func(c *Config) any { return &c.Model.AdapterFolder })
	g.honour("resize_vocab", Bool, "false", "Enlarge embeddings to the tokenizer's length", func(c *Config) any { return &c.Model.ResizeVocab })
	g.honour("add_tokens", List, "null", "Tokens to add to the tokenizer", func(c *Config) any { return &c.Model.AddTokens })
	g.honour("add_special_tokens", List, "null", "Special tokens to add to the tokenizer", func(c *Config) any { return &c.Model.AddSpecialTokens })
	g.honour("new_special_tokens_config", Text, "null", "YAML file: special token to description", func(c *Config) any { return &c.Model.NewSpecialTokensConfig })
	g.honour("init_special_tokens", Text, "noise_init", "How rows of new tokens start [noise_init desc_init desc_init_w_noise]", func(c *Config) any { return &c.Model.InitSpecialTokens })
	g.honour("rope_scaling", Text, "null", "Stretch RoPE to cutoff_len [linear dynamic yarn llama3]", func(c *Config) any { return &c.Model.RopeScaling })
	g.honour("moe_aux_loss_coef", Float, "null", "Weight of the router's auxiliary loss", func(c *Config) any { return &c.Model.MoEAuxLossCoef })
	g.honour("disable_gradient_checkpointing", Bool, "false", "Keep all activations, even where they do not fit into memory", func(c *Config) any { return &c.Model.DisableGradientCheckpointing })
	g.honour("train_from_scratch", Bool, "false", "Start from random weights of the model's shape", func(c *Config) any { return &c.Model.TrainFromScratch })
	g.honour("print_param_status", Bool, "false", "List every parameter and whether it trains", func(c *Config) any { return &c.Model.PrintParamStatus })
	g.honour("quantization_bit", Int, "null", "QLoRA: keep the layers' linears in that many bits, 4 or 8, and train LoRA on them", func(c *Config) any { return &c.Model.QuantizationBit })
	g.honour("quantization_method", Text, "bnb", "How they are quantised: as bitsandbytes does [bnb bitsandbytes]", func(c *Config) any { return &c.Model.QuantizationMethod })
	g.honour("quantization_type", Text, "nf4", "What 4-bit codes stand for [nf4 fp4]", func(c *Config) any { return &c.Model.QuantizationType })
	g.honour("double_quantization", Bool, "true", "Quantise the scales of 4-bit codes, too", func(c *Config) any { return &c.Model.DoubleQuantization })
	g.honour("infer_dtype", Text, "auto", "Number format of exported weights [auto float16 bfloat16 float32]", func(c *Config) any { return &c.Model.InferDType })

	g.ignore(noNetwork, "hf_hub_token string null", "ms_hub_token string null", "om_hub_token string null")
	g.ignore("no code of a model folder is ever run", "trust_remote_code bool false")
	g.ignore("there is one tokenizer, and it is fast", "use_fast_tokenizer bool true")
	g.ignore("weights are memory-mapped", "low_cpu_mem_usage bool true", "offload_folder string offload")
	g.ignore("attention here is exact and never stores the score matrix, whatever is chosen", "flash_attn string auto")
	g.ignore(oneBackend, "use_unsloth bool false", "use_unsloth_gc bool false", "enable_liger_kernel bool false", "use_v1_kernels bool false")
	g.ignore("it names a detail of PyTorch's checkpointing", "use_reentrant_gc bool true")
	g.ignore("norms and logits are computed in fp32 here", "upcast_layernorm bool false", "upcast_lmhead_output bool false")
	g.ignore(inference, "infer_backend string huggingface", "use_kv_cache bool true",
		"vllm_maxlen int 4096", "vllm_gpu_util float 0.7", "vllm_enforce_eager bool false", "vllm_max_lora_rank int 32", "vllm_config any null",
		"sglang_maxlen int 4096", "sglang_mem_fraction float 0.7", "sglang_tp_size int -1", "sglang_config any null", "sglang_lora_backend string triton")
	g.ignore("it is read with use_kt only", "kt_optimize_rule string null", "cpu_infer int 32", "chunk_size int 8192", "kt_maxlen int 4096",
		"kt_use_cuda_graph bool true", "kt_mode string normal", "kt_force_think bool false", "kt_config any null", "kt_cpu_activation string null",
		"kt_non_expert_weight_path string null", "kt_weight_path string null", "kt_expert_checkpoint_path string null",
		"kt_use_lora_experts any null", "kt_lora_expert_num int null", "kt_lora_expert_intermediate_size int null")
	g.ignore("it is KTransformers'; a component's mode stands in components.yaml", "mode string normal")
	g.ignore(multimodal, "image_max_pixels int 589824", "image_min_pixels int 1024", "image_do_pan_and_scan bool false", "crop_to_patches bool false",
		"video_max_pixels int 65536", "video_min_pixels int 256", "video_fps float 2.0", "video_maxlen int 128", "use_audio_in_video bool false", "audio_sampling_rate int 16000")
	g.ignore("codes lie on the device that trains", "quantization_device_map string null")
	g.ignore("it is read with fp8 only", "fp8_backend string auto", "fp8_enable_fsdp_float8_all_gather bool false")

	g.refuse("special tokens cannot be split: upstream allows it with slow tokenizers only: remove it", "split_special_tokens bool false")
	g.refuse("shifted sparse attention (LongLoRA) is not supported here: remove it", "shift_attn bool false")
	g.refuse("mixture-of-depths is not supported here: remove it", "mixture_of_depths string null")
	g.refuse("KTransformers is not supported here: remove it", "use_kt bool false")
	g.refuse("FP8 training is not supported here: write bf16: true", "fp8 bool false")
	return g.keys
}

func exportKeys() []Key {
	g := group{name: "Export"}
	g.honour("export_dir", Text, "null", "Where export writes the merged model: a folder, or NAME.gguf for a file of llama.cpp's", func(c *Config) any { return &c.Export.Dir })
	g.honour("export_gguf", Text, "auto", "Number format of the matrices in a GGUF file; auto = infer_dtype [auto f32 f16 bf16 q8_0]", func(c *Config) any { return &c.Export.GGUF })
	g.honour("export_size", Int, "5", "Size of a shard in GB", func(c *Config) any { return &c.Export.Size })
	g.ignore("export runs on the CPU", "export_device string cpu")
	g.unmet("nothing is uploaded here: `hf upload NAME export_dir` does it", "export_hub_model_id string null")
	g.ignore("it is read with export_quantization_bit only", "export_quantization_dataset string null", "export_quantization_nsamples int 128", "export_quantization_maxlen int 1024")
	g.refuse("exporting quantised weights is not supported here: remove it", "export_quantization_bit int null")
	g.refuse("pickled .bin weights are never written: remove it, safetensors are written", "export_legacy_format bool false")
	return g.keys
}

func generatingKeys() []Key {
	g := group{name: "Generating"}
	g.honour("do_sample", Bool, "true", "Draw the tokens of an answer; false = always the most probable one", func(c *Config) any { return &c.Generating.DoSample })
	g.honour("temperature", Float, "0.95", "Logits are divided by it before a token is drawn; 0 = always the most probable one", func(c *Config) any { return &c.Generating.Temperature })
	g.honour("top_p", Float, "0.7", "Draw among the most probable tokens that make up this share", func(c *Config) any { return &c.Generating.TopP })
	g.honour("top_k", Int, "50", "Draw among so many most probable tokens; 0 = all", func(c *Config) any { return &c.Generating.TopK })
	g.honour("max_new_tokens", Int, "1024", "Most tokens of an answer", func(c *Config) any { return &c.Generating.MaxNewTokens })
	g.honour("repetition_penalty", Float, "1.0", "Makes tokens that prompt and answer have less probable; 1 = no", func(c *Config) any { return &c.Generating.RepetitionPenalty })
	g.honour("skip_special_tokens", Bool, "true", "Leave special tokens out of an answer's text", func(c *Config) any { return &c.Generating.SkipSpecialTokens })
	g.ignore("max_new_tokens is read", "max_length int 1024")
	g.ignore("it is read with num_beams only", "length_penalty float 1.0")
	g.refuse("beam search is not supported here: remove it", "num_beams int 1")
	return g.keys
}

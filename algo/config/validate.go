package config

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"

	"dataflex.dev/dataflex/model/optim"
)

// checker collects the faults of a configuration.
type checker struct {
	*Config
	f *faults
}

// faultIf adds a fault about key if bad is true.
func (c checker) faultIf(bad bool, key, format string, args ...any) {
	if bad {
		c.f.add(c.Errorf(key, format, args...))
	}
}

// maxRank is the largest lora_rank; every matrix of a model has fewer rows.
const maxRank = 1 << 20

// validateTraining checks everything that can be checked without opening a file.
func validateTraining(cfg *Config, f *faults) {
	c := checker{cfg, f}
	if c.Export.Dir != "" && !c.Training.DoTrain && len(c.Data.Dataset) == 0 {
		f.add(c.Errorf("export_dir", "this configuration exports a model: give it to dataflex-cli export, or set do_train: true and dataset"))
		return
	}
	c.checkModel()
	c.checkStage()
	c.checkData()
	c.checkTuning()
	c.checkOptimiser()
	c.checkIntervals()
	c.faultIf(c.Training.MergeTokens != nil && *c.Training.MergeTokens < 0, "merge_tokens", "it must not be negative")
	c.faultIf(c.Training.ReplayEvery < 0, "replay_every", "it must not be negative, got %d", c.Training.ReplayEvery)
	c.checkDynamic()
	c.checkPrediction()
}

func validateExport(cfg *Config, f *faults) {
	c := checker{cfg, f}
	c.checkModel()
	c.faultIf(c.Model.QuantizationBit != 0, "quantization_bit", "quantised weights are not exported, and adapters are not merged into them: remove it, and the adapter is merged into the model's own weights")
	c.faultIf(c.Export.Dir == "", "export_dir", "name the folder the model is exported to")
	c.faultIf(c.Export.GGUF != "auto" && !strings.EqualFold(filepath.Ext(c.Export.Dir), ".gguf"), "export_gguf",
		"a GGUF file is one file: name it in export_dir (export_dir: model.gguf), or remove export_gguf to write a Hugging Face folder")
	c.faultIf(c.Export.Size <= 0, "export_size", "a shard needs a positive size in GB, got %d", c.Export.Size)
	for _, e := range c.root.Entries() {
		if k, ok := lookup(e.Key); ok && k.Group == "Training" && k.Status == Honoured {
			c.notice(e, "has no effect on export")
		}
	}
}

func (c checker) checkModel() {
	m, tn := c.Model, c.Tuning
	c.faultIf(m.NameOrPath == "", "model_name_or_path", "name the folder of a Hugging Face model, or its name on the hub")
	c.faultIf(len(m.AdapterNameOrPath) > 0 && tn.FinetuningType != LoRA, "adapter_name_or_path",
		"an adapter needs finetuning_type: lora, which is %s: change it or remove adapter_name_or_path", tn.FinetuningType)
	c.checkQuantization()
	if e, ok := c.root.Get("mode"); ok && (e.Value.Text == "faithful" || e.Value.Text == "upstream") {
		c.f.add(e.Pos.Errorf("mode: it belongs into %s, beside the component's name or among its params", c.Dynamic.ComponentsCfgFile))
	}
}

// checkQuantization refuses what LLaMA-Factory does not combine with quantised weights.
func (c checker) checkQuantization() {
	m, tn := c.Model, c.Tuning
	if m.QuantizationBit == 0 {
		return
	}
	const key = "quantization_bit"
	c.faultIf(m.QuantizationBit != 4 && m.QuantizationBit != 8, key, "bitsandbytes has 4 or 8 bits, got %d", m.QuantizationBit)
	c.faultIf(tn.FinetuningType != LoRA, key, "quantised weights do not train: it needs finetuning_type: lora, which is %s", tn.FinetuningType)
	c.faultIf(tn.PiSSAInit, "pissa_init", "it subtracts the adapter's initial values from the weights, and quantised weights do not change: remove it, or quantization_bit")
	c.faultIf(m.ResizeVocab, "resize_vocab", "the embeddings of a quantised model are not resized: remove it (add_tokens and add_special_tokens turn it on), or quantization_bit")
	c.faultIf(m.TrainFromScratch, "train_from_scratch", "fresh weights that are quantised do not train: remove it, or quantization_bit")
	c.faultIf(len(m.AdapterNameOrPath) > 0 && tn.CreateNewAdapter, "create_new_adapter", "it merges the adapters there are, and none is merged into quantised weights: remove it, or quantization_bit")
	c.faultIf(len(m.AdapterNameOrPath) > 1, "adapter_name_or_path", "a quantised model takes one adapter, as none is merged into it, got %d: merge them into the model with dataflex-cli export first", len(m.AdapterNameOrPath))
}

func (c checker) checkStage() {
	tn, d, tr := c.Tuning, c.Data, c.Training
	switch tn.Stage {
	case "rm", "ppo", "dpo", "kto":
		c.faultIf(true, "stage", "preference and reward training (%s) is not supported here: the stages are pt and sft", tn.Stage)
		return
	}
	c.faultIf(tn.FinetuningType == "oft", "finetuning_type", "orthogonal fine-tuning (oft) is not supported here: use lora, freeze or full")
	if tn.Stage != StageSFT {
		c.faultIf(d.NeatPacking, "neat_packing", "it needs stage: sft, which is %s: remove it; pre-training packs by itself", tn.Stage)
		c.faultIf(d.TrainOnPrompt, "train_on_prompt", "it needs stage: sft, which is %s: remove it", tn.Stage)
		c.faultIf(d.MaskHistory, "mask_history", "it needs stage: sft, which is %s: remove it", tn.Stage)
	}
	c.faultIf(!tr.DoTrain && !tr.DoEval && !tr.DoPredict, "do_train", "there is nothing to do: set do_train: true")
	c.faultIf(tr.DoTrain && len(d.Dataset) == 0, "dataset", "name the dataset to train on, an entry of dataset_info.json in dataset_dir")
	c.faultIf(tr.DoEval && len(d.EvalDataset) == 0 && d.ValSize < 1e-6, evalKey(tr), "evaluation needs data: set eval_dataset, or val_size above 0")
	c.faultIf(tr.OutputDir == "", "output_dir", "name the folder that everything is written to")
}

// evalKey is the key that requested evaluation.
func evalKey(t Training) string {
	if t.EvalStrategy != No {
		return "eval_strategy"
	}
	return "do_eval"
}

func (c checker) checkData() {
	d := c.Data
	c.faultIf(d.CutoffLen <= 0, "cutoff_len", "it must be at least 1 token, got %d", d.CutoffLen)
	c.faultIf(d.CutoffLen == 1 && d.Packing != nil && *d.Packing, "cutoff_len", "packing takes one token off cutoff_len: 1 leaves nothing")
	c.faultIf(d.DatasetDir == "ONLINE" || strings.HasPrefix(d.DatasetDir, "REMOTE:"), "dataset_dir",
		"%s is on a hub, and nothing is downloaded here: `dataflex-cli download ORG/NAME --dataset` fetches it once; then name its folder", d.DatasetDir)
	val := d.ValSize > 1e-6
	c.faultIf(d.ValSize < 0, "val_size", "it must not be negative, got %v", d.ValSize)
	c.faultIf(d.ValSize > 1 && d.ValSize != math.Trunc(d.ValSize), "val_size", "above 1 it counts rows and must be whole, got %v", d.ValSize)
	c.faultIf(d.ValSize == 1 && c.isFloat("val_size"), "val_size", "1.0 leaves it open whether one row or all of them are meant: write 1 for one row, or a share below 1")
	c.faultIf(val && len(d.Dataset) == 0, "val_size", "there is no dataset to hold rows out of: set dataset or remove val_size")
	c.faultIf(val && len(d.EvalDataset) > 0, "val_size", "eval_dataset is set at %s: remove one of the two", c.At("eval_dataset"))
	c.faultIf(c.Given("max_samples") && d.MaxSamples <= 0 && !c.isNull("max_samples"), "max_samples", "it must be at least 1, got %d: remove it to use all rows", d.MaxSamples)
	c.faultIf(d.PreprocessingWorkers < 0 || d.PreprocessingWorkers == 0 && c.Given("preprocessing_num_workers") && !c.isNull("preprocessing_num_workers"),
		"preprocessing_num_workers", "it must be at least 1, got %d", d.PreprocessingWorkers)
	c.faultIf(d.BufferSize <= 0, "buffer_size", "it must be at least 1, got %d", d.BufferSize)
	c.faultIf(d.MaskHistory && d.TrainOnPrompt, "mask_history", "it cannot be combined with train_on_prompt, set at %s: remove one of the two", c.At("train_on_prompt"))
	if d.Streaming {
		c.faultIf(val && d.ValSize < 1, "val_size", "with streaming it must be a number of rows, got %v", d.ValSize)
		c.faultIf(d.MaxSamples > 0, "max_samples", "it cannot be combined with streaming, set at %s: remove one of the two", c.At("streaming"))
		c.faultIf(c.Training.MaxSteps <= 0 && c.Dynamic.TrainStep <= 0, "streaming", "the length of the data is not known: set max_steps")
	}
	c.checkProbs()
	c.checkMixture()
}

func (c checker) isNull(key string) bool {
	e, ok := c.root.Get(key)
	return ok && e.Value.Any() == nil
}

// isFloat reports whether a key's number is written with a point or an exponent.
func (c checker) isFloat(key string) bool {
	e, ok := c.root.Get(key)
	return ok && unquote(e.Value).Kind == yamlfile.Float
}

func (c checker) checkProbs() {
	d := c.Data
	if d.InterleaveProbs == nil {
		return
	}
	c.faultIf(d.MixStrategy == "concat", "interleave_probs", "mix_strategy is concat: set mix_strategy: interleave_under or interleave_over")
	c.faultIf(len(d.Dataset) > 0 && len(d.Dataset) != len(d.InterleaveProbs), "interleave_probs", "it has %d entries for %d datasets", len(d.InterleaveProbs), len(d.Dataset))
	c.faultIf(len(d.EvalDataset) > 0 && len(d.EvalDataset) != len(d.InterleaveProbs), "interleave_probs", "it has %d entries for %d evaluation datasets", len(d.InterleaveProbs), len(d.EvalDataset))
	sum, negative := total(d.InterleaveProbs)
	c.faultIf(negative || math.Abs(sum-1) > 1.5e-8, "interleave_probs", "probabilities must not be negative and must sum to 1, got %v", d.InterleaveProbs)
}

func (c checker) checkMixture() {
	p := c.Data.InitMixtureProportions
	if p == nil || c.Dynamic.TrainType == Static {
		return
	}
	c.faultIf(len(c.Data.Dataset) != len(p), "init_mixture_proportions", "it has %d entries for %d datasets", len(p), len(c.Data.Dataset))
	sum, negative := total(p)
	c.faultIf(negative || sum <= 0, "init_mixture_proportions", "shares must not be negative, nor all 0, got %v", p)
}

func total(p []float64) (sum float64, negative bool) {
	for _, x := range p {
		negative = negative || x < 0
		sum += x
	}
	return sum, negative
}

func (c checker) checkTuning() {
	t := c.Tuning
	if t.FinetuningType == LoRA {
		c.faultIf(t.LoRARank <= 0 || t.LoRARank > maxRank, "lora_rank", "it must be at least 1 and at most %d, got %d", maxRank, t.LoRARank)
		c.faultIf(t.LoRAAlpha < 0, "lora_alpha", "it must not be negative, got %v", t.LoRAAlpha)
		c.faultIf(t.LoRADropout < 0 || t.LoRADropout >= 1, "lora_dropout", "a probability below 1 is needed, got %v", t.LoRADropout)
		c.faultIf(len(t.LoRATarget) == 0, "lora_target", "name the modules that get LoRA, or all")
	} else {
		const only = "it needs finetuning_type: lora, which is %s: remove it"
		c.faultIf(t.LoRAPlusLRRatio != nil, "loraplus_lr_ratio", only, t.FinetuningType)
		c.faultIf(t.UseRSLoRA, "use_rslora", only, t.FinetuningType)
		c.faultIf(t.UseDoRA, "use_dora", only, t.FinetuningType)
		c.faultIf(t.PiSSAInit, "pissa_init", only, t.FinetuningType)
	}
	c.faultIf(t.PiSSAConvert && !t.PiSSAInit, "pissa_convert", "it converts what pissa_init started: set pissa_init: true, or remove it")
	c.faultIf(t.PiSSAConvert && (t.UseDoRA || len(c.Model.AdapterNameOrPath) > 0), "pissa_convert", "it converts a new adapter of plain LoRA: remove it, or use_dora and adapter_name_or_path")
	c.faultIf(t.PiSSAInit && t.PiSSAIter < 1 && t.PiSSAIter != -1, "pissa_iter", "it must be at least 1, or -1, got %d", t.PiSSAIter)
	c.faultIf(t.LoRAPlusLRRatio != nil && *t.LoRAPlusLRRatio <= 0, "loraplus_lr_ratio", "it must be positive")
	c.faultIf(t.LoRAPlusLREmbedding < 0, "loraplus_lr_embedding", "it must not be negative, got %v", t.LoRAPlusLREmbedding)
	c.faultIf(t.FinetuningType == Freeze && t.FreezeTrainableLayers == 0 && len(t.FreezeExtraModules) == 0, "freeze_trainable_layers", "0 leaves nothing to train: give a number of layers, or freeze_extra_modules")
	c.faultIf(t.EarlyStoppingMinDelta < 0, "early_stopping_min_delta", "it must not be negative, got %v", t.EarlyStoppingMinDelta)
	if t.EarlyStoppingSteps != nil {
		c.faultIf(*t.EarlyStoppingSteps <= 0, "early_stopping_steps", "it must be at least 1 evaluation, got %d", *t.EarlyStoppingSteps)
		c.faultIf(c.Training.EvalStrategy == No, "early_stopping_steps", "it counts evaluations: set eval_strategy: steps and eval_steps")
		c.faultIf(c.Training.MetricForBestModel == "", "early_stopping_steps", "it needs to know what is better: set metric_for_best_model: eval_loss")
	}
	c.faultIf(c.Model.MoEAuxLossCoef != nil && *c.Model.MoEAuxLossCoef < 0, "moe_aux_loss_coef", "it must not be negative")
}

func (c checker) checkOptimiser() {
	t := c.Training
	positive := func(key string, n int) { c.faultIf(n <= 0, key, "it must be at least 1, got %d", n) }
	positive("per_device_train_batch_size", t.PerDeviceTrainBatchSize)
	positive("per_device_eval_batch_size", t.PerDeviceEvalBatchSize)
	positive("ranks", t.Ranks)
	c.faultIf(t.Ranks > 1 && t.GroupByLength, "ranks", "group_by_length, set at %s, distributes rows differently among several processes: remove one of the two", c.At("group_by_length"))
	c.faultIf(t.Reduction != Tree && t.Reduction != Fast, "reduction", "it is %s (the same bits on any number of processes) or %s, not %q", Tree, Fast, t.Reduction)
	positive("ddp_timeout", t.DDPTimeout)
	c.faultIf(t.DDPTimeout > 1<<30, "ddp_timeout", "at most %d seconds, got %d", 1<<30, t.DDPTimeout)
	c.faultIf(t.Ranks > 1<<12, "ranks", "at most %d, got %d", 1<<12, t.Ranks)
	positive("gradient_accumulation_steps", t.GradientAccumulationSteps)
	within := func(key string, x, lo, hi float64) {
		c.faultIf(x < lo || x > hi, key, "it must be from %v to %v, got %v", lo, hi, x)
	}
	within("warmup_ratio", t.WarmupRatio, 0, 1)
	within("label_smoothing_factor", t.LabelSmoothingFactor, 0, 1)
	notNegative := func(key string, x float64) { c.faultIf(x < 0, key, "it must not be negative, got %v", x) }
	notNegative("learning_rate", t.LearningRate)
	notNegative("weight_decay", t.WeightDecay)
	notNegative("eval_delay", t.EvalDelay)
	c.faultIf(t.AdamBeta1 < 0 || t.AdamBeta1 >= 1, "adam_beta1", "it must be at least 0 and below 1, got %v", t.AdamBeta1)
	c.faultIf(t.AdamBeta2 < 0 || t.AdamBeta2 >= 1, "adam_beta2", "it must be at least 0 and below 1, got %v", t.AdamBeta2)
	c.faultIf(t.AdamEpsilon <= 0, "adam_epsilon", "it must be positive, got %v", t.AdamEpsilon)
	c.faultIf(t.NumTrainEpochs <= 0 && t.MaxSteps <= 0, "num_train_epochs", "it must be positive, got %v: or set max_steps", t.NumTrainEpochs)
	c.faultIf(t.WarmupSteps < 0, "warmup_steps", "it must not be negative, got %d", t.WarmupSteps)
	c.faultIf(t.MaxSteps == 0 && c.Given("max_steps") && !c.isNull("max_steps"), "max_steps", "0 steps train nothing: remove it, or write -1 to count epochs")
	c.faultIf(t.NEFTuneNoiseAlpha != nil && *t.NEFTuneNoiseAlpha < 0, "neftune_noise_alpha", "it must not be negative")
	c.faultIf(t.BF16 && t.FP16, "fp16", "bf16 is set at %s: remove one of the two", c.At("bf16"))
	c.faultIf(t.Seed < 0 || t.Seed > math.MaxUint32, "seed", "it must be from 0 to 4294967295, got %d", t.Seed)
	c.faultIf(t.DataSeed != nil && *t.DataSeed < 0, "data_seed", "it must not be negative")
	if err := optim.Check(t.Optim); err != nil {
		c.faultIf(true, "optim", "%w", err)
	}
	c.faultIf(c.Tuning.UseMuon && c.Tuning.LoRAPlusLRRatio != nil, "use_muon", "loraplus_lr_ratio, set at %s, turns it off upstream: remove one of the two", c.At("loraplus_lr_ratio"))
	if e, ok := c.root.Get("optim"); ok && c.Tuning.UseMuon {
		c.notice(e, "has no effect: use_muon is set")
	}
}

func (c checker) checkIntervals() {
	t := c.Training
	for i, key := range []string{"logging_steps", "eval_steps", "save_steps"} {
		x := t.intervals[i]
		strategy := []string{t.LoggingStrategy, t.EvalStrategy, t.SaveStrategy}[i]
		c.faultIf(x <= 0 && (strategy == Steps || c.Given(key)), key, "it must be positive, got %v: %s: \"no\" turns it off", x, strings.Replace(key, "_steps", "_strategy", 1))
		c.faultIf(x > 1 && x != math.Trunc(x), key, "from 1 it counts steps and must be whole, got %v", x)
	}
	if t.LoadBestModelAtEnd && t.SaveStrategy != Best {
		c.faultIf(t.EvalStrategy != t.SaveStrategy, "load_best_model_at_end", "it needs eval_strategy and save_strategy to be equal, they are %s and %s", t.EvalStrategy, t.SaveStrategy)
		whole := t.intervals[1] >= 1 && t.intervals[2] >= 1
		c.faultIf(t.EvalStrategy == Steps && t.SaveStrategy == Steps && whole && t.SaveSteps%max(t.EvalSteps, 1) != 0, "load_best_model_at_end",
			"save_steps (%d) must be a multiple of eval_steps (%d), so that every checkpoint has a score", t.SaveSteps, t.EvalSteps)
	}
	c.faultIf(t.LRSchedulerType == "reduce_lr_on_plateau" && t.EvalStrategy == No, "lr_scheduler_type", "reduce_lr_on_plateau watches evaluations: set eval_strategy: steps")
	c.faultIf(t.SaveStrategy == Best && t.EvalStrategy == No, "save_strategy", "best needs evaluations: set eval_strategy: steps")
	c.faultIf(t.SaveStrategy == Best && t.MetricForBestModel == "", "save_strategy", "best needs to know what is better: set metric_for_best_model: eval_loss")
}

func (c checker) checkDynamic() {
	d := c.Dynamic
	c.faultIf(d.TrainStep < 0, "train_step", "it must not be negative, got %d", d.TrainStep)
	c.faultIf(d.WarmupStep < 0, "warmup_step", "it must not be negative, got %d", d.WarmupStep)
	c.faultIf(d.UpdateStep < 0, "update_step", "it must not be negative, got %d", d.UpdateStep)
	switch d.TrainType {
	case Static:
		return
	case DynamicLego:
		c.faultIf(c.Data.ValSize > 1e-6, "val_size", "%s trains on whole data sets: name an eval_dataset instead", d.TrainType)
		c.faultIf(c.Data.Streaming, "streaming", "%s plans over all rows: remove it", d.TrainType)
	}
	if d.TrainType == DynamicMix && d.StaticMix {
		return
	}
	c.faultIf(d.ComponentName == "", "component_name", "train_type %s needs a component: name an entry of %s in %s", d.TrainType, buckets[d.TrainType], d.ComponentsCfgFile)
	if d.TrainType == DynamicWeight || d.TrainType == DynamicReorder {
		return
	}
	c.faultIf(d.UpdateStep == 0, "update_step", "train_type %s decides every update_step steps: set it to at least 1", d.TrainType)
	c.faultIf(d.WarmupStep == 0 && d.TrainType != DynamicLego, "warmup_step", "train_type %s trains warmup_step steps before the first decision: set it to at least 1", d.TrainType)
}

// buckets maps a train_type to its section of components.yaml.
var buckets = map[string]string{DynamicSelect: "selectors", DynamicMix: "mixers", DynamicWeight: "weighters", DynamicReorder: "reorders", DynamicLego: "pipelines"}

// Component loads the component named by component_name.
func (c *Config) Component() (*Component, error) {
	d := c.Dynamic
	comp, err := LoadComponent(d.ComponentsCfgFile, buckets[d.TrainType], d.ComponentName)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.At("component_name"), err)
	}
	return comp, nil
}

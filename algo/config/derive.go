package config

import (
	"math"
	"os"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// derive sets values that follow from other keys, as LLaMA-Factory and Hugging Face do after
// parsing.
func (c *Config) derive(f *faults) {
	m, d, tn, tr := &c.Model, &c.Data, &c.Tuning, &c.Training
	for _, folder := range []*string{&tr.OutputDir, &tr.LoggingDir} {
		*folder = expandUser(*folder)
	}
	if d.DatasetInfo.Kind != yamlfile.Map {
		d.DatasetDir = expandUser(d.DatasetInfo.Text)
		if !isScalar(d.DatasetInfo) || d.DatasetDir == "" {
			f.add(c.Errorf("dataset_dir", "expected a folder or a map, got %s", d.DatasetInfo.Describe()))
		}
		d.DatasetInfo = nil
	}
	if tn.LoRAAlpha == 0 {
		tn.LoRAAlpha = 2 * float64(tn.LoRARank)
	}
	if len(m.AddTokens) > 0 || len(m.AddSpecialTokens) > 0 || m.NewSpecialTokensConfig != "" {
		m.ResizeVocab = true
	}
	if d.NeatPacking {
		yes := true
		d.Packing = &yes
	}
	if tr.EvalStrategy != No {
		tr.DoEval = true
	}
	if tr.intervals[1] == 0 && !c.Given("eval_steps") {
		tr.intervals[1] = tr.intervals[0]
	}
	for i, p := range []*int{&tr.LoggingSteps, &tr.EvalSteps, &tr.SaveSteps} {
		*p = int(min(tr.intervals[i], math.MaxInt32))
	}
	if tr.MetricForBestModel == "" && (tr.LoadBestModelAtEnd || tr.LRSchedulerType == "reduce_lr_on_plateau") {
		tr.MetricForBestModel = "loss"
	}
	if name := tr.MetricForBestModel; name != "" && !strings.HasPrefix(name, "eval_") {
		tr.MetricForBestModel = "eval_" + name
	}
	tr.GreaterIsBetter = tr.MetricForBestModel != "" && !strings.HasSuffix(tr.MetricForBestModel, "loss")
	if tr.greater != nil {
		tr.GreaterIsBetter = *tr.greater
	}
	if tr.RunName == "" {
		tr.RunName = tr.OutputDir
	}
	c.trackers(f)
	c.shard(f)
	c.conditionalNotices()
}

// expandUser puts the user's home in the place of a leading ~, as Hugging Face does with the
// folders that it writes; here it is done with those that are read, too, which nobody finds
// upstream.
func expandUser(path string) string {
	rest, ok := strings.CutPrefix(path, "~")
	if !ok || rest != "" && !os.IsPathSeparator(rest[0]) {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	return filepath.Join(home, rest)
}

// trackers resolves report_to. A tracker whose file format is not documented is refused: a
// run whose curves cannot be found is worse than one that does not start.
func (c *Config) trackers(f *faults) {
	var kept []string
	for _, name := range c.Training.ReportTo {
		switch name {
		case "none":
		case "tensorboard", "mlflow":
			kept = append(kept, name)
		case "all":
			kept = append(kept, "tensorboard", "mlflow")
		case "wandb":
			f.add(c.Errorf("report_to", "wandb's offline files are in no documented format: leave it out and, where wandb is, log the finished run with\n"+
				`  python -c "import json, wandb; run = wandb.init(); [run.log(row, step=row['step']) for row in json.load(open('%s'))['log_history']]; run.finish()"`,
				filepath.ToSlash(filepath.Join(c.Training.OutputDir, "trainer_state.json"))))
		case "swanlab":
			f.add(c.Errorf("report_to", "swanlab's files are in no documented format: write report_to: tensorboard and, where swanlab is, swanlab convert -t tensorboard --tb-logdir %s", c.eventsFolder()))
		default:
			f.add(c.Errorf("report_to", "%s cannot be written to: the choices are tensorboard, mlflow and none; the whole log is in trainer_log.jsonl and trainer_state.json either way", name))
		}
	}
	c.Training.ReportTo = kept
}

func (c *Config) eventsFolder() string {
	if c.Training.LoggingDir != "" {
		return c.Training.LoggingDir
	}
	return filepath.Join(c.Training.OutputDir, "runs")
}

// conditionalNotices adds notices for given keys that have no effect because of other keys.
func (c *Config) conditionalNotices() {
	say := func(applies bool, why string, keys ...string) {
		if !applies {
			return
		}
		for _, key := range keys {
			if e, ok := c.root.Get(key); ok {
				if k, _ := lookup(key); !isDefault(k, e.Value) {
					c.notice(e, why)
				}
			}
		}
	}
	lowPrecision := "is accepted: on a CPU the maths runs in fp32"
	say(true, lowPrecision, "bf16", "fp16", "pure_bf16")
	say(!c.Training.DoPredict, "has no effect on training: dataflex-cli generate and do_predict read it", "do_sample", "temperature", "top_p", "top_k",
		"max_new_tokens", "repetition_penalty", "skip_special_tokens")
	say(c.Training.DoEval, "has no effect on evaluations: they give the loss", "predict_with_generate")
	static := c.Dynamic.TrainType == Static
	say(static, "has no effect with train_type static", "component_name", "update_step", "update_times", "train_step", "static_mix",
		"mixture_sample_rule", "init_mixture_proportions", "mixer_eval_dataset")
	say(static, "has no effect with train_type static; the learning rate's warm-up is warmup_steps", "warmup_step")
	say(c.Dynamic.TrainType == DynamicWeight, "has no effect with train_type dynamic_weight", "update_step", "update_times")
	say(!static && c.Dynamic.TrainStep > 0, "has no effect: train_step is set", "max_steps")
	say(c.Tuning.FinetuningType != LoRA, "has no effect with finetuning_type "+c.Tuning.FinetuningType, "lora_rank", "lora_alpha", "lora_dropout", "lora_target",
		"additional_target", "create_new_adapter")
	say(c.Tuning.FinetuningType != Freeze, "has no effect with finetuning_type "+c.Tuning.FinetuningType, "freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules")
}

package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/yamlfile"
)

// minimal is a configuration without faults, to which the tests add keys.
const minimal = `model_name_or_path: models/tiny
stage: sft
do_train: true
dataset: pool
output_dir: out
`

// write writes a file to a new folder and changes the working directory to it, so that
// positions are "c.yaml:line:column".
func write(t *testing.T, name, text string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func mustLoad(t *testing.T, text string, overrides ...string) *Config {
	t.Helper()
	c, err := Load(write(t, "c.yaml", text), overrides)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func loadError(t *testing.T, text string, overrides ...string) string {
	t.Helper()
	_, err := Load(write(t, "c.yaml", text), overrides)
	if err == nil {
		t.Fatalf("no error for\n%s%v", text, overrides)
	}
	return err.Error()
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, minimal)
	d, tn, tr := c.Data, c.Tuning, c.Training
	for name, ok := range map[string]bool{
		"cutoff_len":         d.CutoffLen == 2048,
		"dataset_dir":        d.DatasetDir == "data" && d.DatasetInfo == nil,
		"packing":            d.Packing == nil,
		"enable_thinking":    d.EnableThinking != nil && *d.EnableThinking,
		"default_system":     d.DefaultSystem == nil,
		"finetuning_type":    tn.FinetuningType == LoRA,
		"lora":               tn.LoRARank == 8 && tn.LoRAAlpha == 16 && slices.Equal(tn.LoRATarget, []string{"all"}),
		"loraplus":           tn.LoRAPlusLRRatio == nil && tn.LoRAPlusLREmbedding == 1e-6,
		"learning_rate":      tr.LearningRate == 5e-5,
		"betas":              tr.AdamBeta1 == 0.9 && tr.AdamBeta2 == 0.999 && tr.AdamEpsilon == 1e-8,
		"epochs":             tr.NumTrainEpochs == 3 && tr.MaxSteps == -1,
		"batch":              tr.PerDeviceTrainBatchSize == 8 && tr.GradientAccumulationSteps == 1,
		"strategies":         tr.EvalStrategy == No && tr.SaveStrategy == Steps && tr.LoggingStrategy == Steps && !tr.DoEval,
		"intervals":          tr.LoggingSteps == 500 && tr.EvalSteps == 500 && tr.SaveSteps == 500,
		"seed":               tr.Seed == 42 && tr.DataSeed == nil,
		"metric":             tr.MetricForBestModel == "" && !tr.GreaterIsBetter,
		"run_name":           tr.RunName == "out",
		"train_type":         c.Dynamic.TrainType == Static && c.Dynamic.UpdateTimes == 1,
		"components":         c.Dynamic.ComponentsCfgFile == "configs/components.yaml",
		"resume":             tr.ResumeFromCheckpoint == Resume{},
		"early_stopping":     tn.EarlyStoppingSteps == nil,
		"notices":            len(c.Notices()) == 0,
		"at, not set":        c.At("seed") == "c.yaml (seed is not set: the default is 42)",
		"at, not set, null":  c.At("template") == "c.yaml (template is not set)",
		"at":                 c.At("dataset") == "c.yaml:4:10",
		"export":             c.Export.Size == 5,
		"report_to":          tr.ReportTo == nil,
		"lr_scheduler_kwarg": tr.LRSchedulerKwargs == nil,
	} {
		if !ok {
			t.Errorf("%s is wrong: %+v %+v %+v", name, d, tn, tr)
		}
	}
}

func TestValues(t *testing.T) {
	c := mustLoad(t, strings.Replace(minimal, "dataset: pool\n", "", 1)+`
dataset: a, b,c
eval_dataset: [x, y]
lora_target: q_proj,v_proj
learning_rate: 1e-4
num_train_epochs: 2
per_device_train_batch_size: 4.0
gradient_accumulation_steps: "2"
weight_decay: "1e-2"
packing: no
enable_thinking: null
default_system: ""
mix_strategy: interleave_over
interleave_probs: 0.5,0.3, 0.2
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs: {min_lr: 1e-5, n: 3}
save_strategy: no
eval_strategy: steps
eval_steps: 0.1
logging_steps: 5
metric_for_best_model: accuracy
report_to: [tensorboard, none]
resume_from_checkpoint: out/checkpoint-5
run_name: 2024_01
max_samples: 1e3
data_seed: 7
lora_alpha: 0
lora_rank: 4
warmup_ratio: 0.1
add_tokens: <a>
`[1:], "interleave_probs=null", "mix_strategy=concat", "seed=3", "lora_dropout=0.1")
	d, tn, tr := c.Data, c.Tuning, c.Training
	for name, ok := range map[string]bool{
		"comma list":      slices.Equal(d.Dataset, []string{"a", "b", "c"}),
		"list":            slices.Equal(d.EvalDataset, []string{"x", "y"}),
		"targets":         slices.Equal(tn.LoRATarget, []string{"q_proj", "v_proj"}),
		"1e-4":            tr.LearningRate == 1e-4,
		"int to float":    tr.NumTrainEpochs == 2,
		"float to int":    tr.PerDeviceTrainBatchSize == 4 && d.MaxSamples == 1000,
		"quoted int":      tr.GradientAccumulationSteps == 2,
		"quoted float":    tr.WeightDecay == 0.01,
		"no":              d.Packing != nil && !*d.Packing,
		"null":            d.EnableThinking == nil && d.InterleaveProbs == nil,
		"empty string":    d.DefaultSystem != nil && *d.DefaultSystem == "",
		"map":             reflect.DeepEqual(tr.LRSchedulerKwargs, map[string]any{"min_lr": 1e-5, "n": int64(3)}),
		"unquoted no":     tr.SaveStrategy == No,
		"do_eval follows": tr.DoEval,
		"metric":          tr.MetricForBestModel == "eval_accuracy" && tr.GreaterIsBetter,
		"report_to":       slices.Equal(tr.ReportTo, []string{"tensorboard"}),
		"resume":          tr.ResumeFromCheckpoint == Resume{Given: true, Path: "out/checkpoint-5"},
		"number as text":  tr.RunName == "2024_01",
		"data_seed":       tr.DataSeed != nil && *tr.DataSeed == 7,
		"alpha 0":         tn.LoRAAlpha == 8,
		"override":        tr.Seed == 3 && tn.LoRADropout == 0.1 && c.At("seed") == "override 'seed=3'",
		"warm-up":         tr.Warmup(25) == 3,
		"tokens resize":   c.Model.ResizeVocab,
		"share unset":     tr.EvalSteps == 0 && tr.LoggingSteps == 5,
	} {
		if !ok {
			t.Errorf("%s is wrong: %+v %+v %+v", name, d, tn, tr)
		}
	}
	if tr.ResolveSteps(45); tr.EvalSteps != 5 || tr.LoggingSteps != 5 {
		t.Errorf("of 45 steps: eval every %d, log every %d", tr.EvalSteps, tr.LoggingSteps)
	}
}

func TestJSONConfigAndInlineDatasetInfo(t *testing.T) {
	path := write(t, "c.json", `{"model_name_or_path": "m", "do_train": true, "dataset": ["a"], "output_dir": "o", "dataset_dir": {"a": {"file_name": "a.json"}}, "resume_from_checkpoint": true}`)
	c, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Data.DatasetDir != "" || c.Data.DatasetInfo == nil || len(c.Data.DatasetInfo.Entries()) != 1 || !c.Training.ResumeFromCheckpoint.Latest {
		t.Errorf("%+v %+v", c.Data, c.Training.ResumeFromCheckpoint)
	}
}

// TestHome: as os.path.expanduser, to which transformers gives output_dir and logging_dir.
func TestHome(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	for path, want := range map[string]string{
		"~/runs/a": filepath.Join(home, "runs", "a"), "~b": "~b", "a/~": "a/~", "./~/a": "./~/a",
	} {
		c := mustLoad(t, minimal, "output_dir="+path, "logging_dir="+path, "dataset_dir="+path, "model_name_or_path="+path)
		if got := c.Training.OutputDir; got != want {
			t.Errorf("output_dir: %s is %s, want %s", path, got, want)
		}
		if got := c.Training.LoggingDir; got != want {
			t.Errorf("logging_dir: %s is %s, want %s", path, got, want)
		}
		if c.Data.DatasetDir != want || c.Model.NameOrPath != want {
			t.Errorf("%s: data in %s, the model in %s, want %s", path, c.Data.DatasetDir, c.Model.NameOrPath, want)
		}
	}
}

func TestUnknownKeyShowsLineAndNearest(t *testing.T) {
	got := loadError(t, minimal+"learning_rat: 1.0e-4 # typo\n")
	want := "c.yaml:6:1: unknown key \"learning_rat\": did you mean learning_rate?\n   6 | learning_rat: 1.0e-4 # typo\n     | ^"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	got = loadError(t, minimal, "lora_rnak=4", "--seed=1")
	want = "override 'lora_rnak=4': unknown key \"lora_rnak\": did you mean lora_rank?\n" +
		"override '--seed=1': unknown key \"--seed\": a key has no dashes before it"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	t.Setenv("ALLOW_EXTRA_ARGS", "1")
	c := mustLoad(t, minimal+"learning_rat: 1\n")
	if n := c.Notices(); len(n) != 1 || !strings.Contains(n[0], "c.yaml:6:15: learning_rat is unknown") {
		t.Errorf("notices %q", n)
	}
}

func TestErrorf(t *testing.T) {
	c := mustLoad(t, minimal)
	cause := errors.New("no such folder")
	err := c.Errorf("model_name_or_path", "cannot open it: %w", cause)
	want := "c.yaml:1:21: model_name_or_path: cannot open it: no such folder\n   1 | model_name_or_path: models/tiny\n     |                     ^"
	if err.Error() != want || !errors.Is(err, cause) {
		t.Errorf("got\n%s\nwant\n%s", err, want)
	}
	var e *yamlfile.Error
	if !errors.As(err, &e) || e.Pos.Line != 1 {
		t.Errorf("no position: %#v", err)
	}
	if got := c.Errorf("template", "is needed").Error(); got != "c.yaml: template: is needed" {
		t.Errorf("got %q", got)
	}
}

func TestUnsupported(t *testing.T) {
	c := mustLoad(t, minimal+"neftune_noise_alpha: 5\nstreaming: false\ndataloader_drop_last: true\n")
	err := c.Unsupported("neftune_noise_alpha", "streaming", "group_by_length", "dataloader_drop_last")
	want := "c.yaml:6:22: neftune_noise_alpha: it is not supported yet: remove it\n   6 | neftune_noise_alpha: 5\n     |                      ^\n" +
		"c.yaml:8:23: dataloader_drop_last: it is not supported yet: remove it\n   8 | dataloader_drop_last: true\n     |                       ^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if err := c.Unsupported("streaming", "packing"); err != nil {
		t.Error(err)
	}
}

func TestNotices(t *testing.T) {
	c := mustLoad(t, minimal+`trust_remote_code: true
ddp_timeout: 180000000
deepspeed: null
dataloader_num_workers: 0
flash_attn: fa2
report_to: [none, tensorboard]
bf16: true
warmup_step: 10
freeze_trainable_layers: 3
lr_scheduler_type: constant
push_to_hub: true
use_swanlab: true
hub_private_repo: false
`)
	unmet := c.Unmet()
	if len(unmet) != 2 || !strings.Contains(unmet[0], "c.yaml:16:14: push_to_hub is not done: nothing is uploaded here;") || !strings.Contains(unmet[1], "c.yaml:17:14: use_swanlab is not done") {
		t.Errorf("unmet %q", unmet)
	}
	want := []string{
		"c.yaml:6:20: trust_remote_code has no effect here: no code of a model folder is ever run",
		"c.yaml:10:13: flash_attn has no effect here: attention here is exact and never stores the score matrix, whatever is chosen",
		"c.yaml:12:7: bf16 is accepted: on a CPU the maths runs in fp32",
		"c.yaml:13:14: warmup_step has no effect with train_type static; the learning rate's warm-up is warmup_steps",
		"c.yaml:14:26: freeze_trainable_layers has no effect with finetuning_type lora",
	}
	if got := c.Notices(); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Every refusal names the key, its place and what to do.
func TestRefusals(t *testing.T) {
	const dynamic = minimal + "train_type: dynamic_select\ncomponent_name: less\nwarmup_step: 4\nupdate_step: 4\n"
	for _, c := range []struct {
		text      string
		overrides []string
		want      string
	}{
		{minimal, []string{"learning_rate=abc"}, "override 'learning_rate=abc': learning_rate: expected a number, got string 'abc'"},
		{minimal + "learning_rate: abc\n", nil, "c.yaml:6:16: learning_rate: expected a number, got string 'abc'\n   6 | learning_rate: abc"},
		{minimal, []string{"learning_rate=.nan"}, "learning_rate: expected a number, got float NaN"},
		{minimal, []string{"lora_rank=1.5"}, "lora_rank: expected a whole number, got float 1.5"},
		{minimal, []string{"packing=maybe"}, "packing: expected true or false, got string 'maybe'"},
		{minimal, []string{"report_to=wandb"}, "json.load(open('out/trainer_state.json'))['log_history']]; run.finish()\""},
		{minimal, []string{"report_to=[tensorboard,swanlab]", "logging_dir=tb"}, "swanlab convert -t tensorboard --tb-logdir tb"},
		{minimal, []string{"report_to=comet_ml"}, "report_to: comet_ml cannot be written to: the choices are tensorboard, mlflow and none"},
		{minimal, []string{"template=[a]"}, "template: expected a string, got a list of 1"},
		{minimal, []string{"dataset={a: 1}"}, "dataset: expected a list, or words separated by commas, got a map of 1 keys"},
		{minimal, []string{"lr_scheduler_kwargs=3"}, "lr_scheduler_kwargs: expected a map, got int 3"},
		{minimal, []string{"lr_scheduler_type=cos"}, "lr_scheduler_type: string 'cos' is not one of linear, cosine,"},
		{minimal, []string{"stage=dpo"}, "stage: preference and reward training (dpo) is not supported here: the stages are pt and sft"},
		{minimal, []string{"stage=x"}, "stage: string 'x' is not one of pt, sft"},
		{minimal, []string{"finetuning_type=oft"}, "finetuning_type: orthogonal fine-tuning"},
		{minimal, []string{"quantization_bit=3"}, "quantization_bit: bitsandbytes has 4 or 8 bits, got 3"},
		{minimal, []string{"quantization_bit=4", "finetuning_type=full"}, "quantization_bit: quantised weights do not train: it needs finetuning_type: lora, which is full"},
		{minimal, []string{"quantization_bit=8", "finetuning_type=freeze"}, "quantization_bit: quantised weights do not train: it needs finetuning_type: lora, which is freeze"},
		{minimal, []string{"quantization_bit=4", "quantization_type=int4"}, "quantization_type:"},
		{minimal, []string{"quantization_bit=4", "quantization_method=hqq"}, "quantization_method:"},
		{minimal, []string{"quantization_bit=4", "pissa_init=true"}, "pissa_init: it subtracts the adapter's initial values from the weights"},
		{minimal, []string{"quantization_bit=4", "add_tokens=a"}, "resize_vocab: the embeddings of a quantised model are not resized"},
		{minimal, []string{"quantization_bit=4", "train_from_scratch=true"}, "train_from_scratch: fresh weights"},
		{minimal, []string{"quantization_bit=4", "adapter_name_or_path=a", "create_new_adapter=true"}, "create_new_adapter: it merges the adapters there are"},
		{minimal, []string{"quantization_bit=4", "adapter_name_or_path=a,b"}, "adapter_name_or_path: a quantised model takes one adapter"},
		{minimal, []string{"use_dora=true", "finetuning_type=full"}, "use_dora: it needs finetuning_type: lora"},
		{minimal, []string{"pissa_convert=true"}, "pissa_convert: it converts what pissa_init started"},
		{minimal, []string{"model_name_or_path=null"}, "model_name_or_path: name the folder"},
		{minimal, []string{"dataset=null"}, "dataset: name the dataset to train on"},
		{minimal, []string{"output_dir=null"}, "output_dir: name the folder"},
		{minimal, []string{"do_train=false"}, "do_train: there is nothing to do"},
		{minimal, []string{"do_eval=true"}, "do_eval: evaluation needs data: set eval_dataset, or val_size"},
		{minimal, []string{"eval_strategy=steps"}, "eval_strategy: evaluation needs data"},
		{minimal, []string{"cutoff_len=0"}, "override 'cutoff_len=0': cutoff_len: it must be at least 1 token, got 0"},
		{minimal, []string{"cutoff_len=-5"}, "cutoff_len: it must be at least 1 token, got -5"},
		{minimal, []string{"per_device_train_batch_size=0"}, "per_device_train_batch_size: it must be at least 1, got 0"},
		{minimal, []string{"gradient_accumulation_steps=-1"}, "gradient_accumulation_steps: it must be at least 1, got -1"},
		{minimal, []string{"num_train_epochs=0"}, "num_train_epochs: it must be positive, got 0"},
		{minimal, []string{"learning_rate=-1e-4"}, "learning_rate: it must not be negative"},
		{minimal, []string{"warmup_ratio=1.5"}, "warmup_ratio: it must be from 0 to 1, got 1.5"},
		{minimal, []string{"label_smoothing_factor=-0.1"}, "label_smoothing_factor: it must be from 0 to 1"},
		{minimal, []string{"lora_dropout=1"}, "lora_dropout: a probability below 1"},
		{minimal, []string{"lora_rank=0"}, "lora_rank: it must be at least 1"},
		{minimal, []string{"adam_beta2=1"}, "adam_beta2: it must be at least 0 and below 1, got 1"},
		{minimal, []string{"logging_steps=0"}, "logging_steps: it must be positive, got 0: logging_strategy: \"no\" turns it off"},
		{minimal, []string{"save_steps=1.5"}, "save_steps: from 1 it counts steps and must be whole, got 1.5"},
		{minimal, []string{"max_steps=0"}, "max_steps: 0 steps train nothing"},
		{minimal, []string{"max_samples=0"}, "max_samples: it must be at least 1"},
		{minimal, []string{"seed=-1"}, "seed: it must be from 0 to 4294967295"},
		{minimal, []string{"optim=rmsprop"}, "optim: rmsprop is not supported here: the nearest is adamw_torch"},
		{minimal, []string{"optim=muon"}, "optim: select muon with use_muon: true"},
		{minimal, []string{"use_muon=true", "loraplus_lr_ratio=4"}, "use_muon: loraplus_lr_ratio, set at "},
		{minimal + "bf16: true\nfp16: true\n", nil, "c.yaml:7:7: fp16: bf16 is set at c.yaml:6:7: remove one of the two"},
		{minimal, []string{"val_size=0.1", "eval_dataset=x"}, "val_size: eval_dataset is set at override 'eval_dataset=x'"},
		{minimal, []string{"val_size=2.5"}, "val_size: above 1 it counts rows"},
		{minimal, []string{"val_size=1.0"}, "val_size: 1.0 leaves it open whether one row or all"},
		{minimal, []string{"val_size=-0.1"}, "val_size: it must not be negative"},
		{minimal, []string{"interleave_probs=1.0"}, "interleave_probs: mix_strategy is concat"},
		{minimal, []string{"interleave_probs=0.5,0.5", "mix_strategy=interleave_under"}, "interleave_probs: it has 2 entries for 1 datasets"},
		{minimal, []string{"interleave_probs=0.5", "mix_strategy=interleave_under"}, "interleave_probs: probabilities must not be negative and must sum to 1"},
		{minimal, []string{"interleave_probs=a,b"}, "interleave_probs: expected a number, got string 'a'"},
		{minimal, []string{"mix_strategy=interleave_twice"}, "mix_strategy: string 'interleave_twice' is not one of concat, interleave_under, interleave_over, interleave_once"},
		{minimal, []string{"context_parallel_size=2"}, `unknown key "context_parallel_size": it belongs to Megatron's settings`},
		{minimal, []string{"use_megatron_bridge=true"}, "use_megatron_bridge: Megatron is not supported here"},
		{minimal, []string{"n_shot=5"}, "`dataflex-cli eval FILE --mmlu DIR` measures MMLU"},
		{minimal, []string{"batch_size=4"}, "write per_device_train_batch_size, or per_device_eval_batch_size"},
		{"<|START_OF_SVG|>: an image follows\n", nil, `c.yaml:1:1: unknown key "<|START_OF_SVG|>": it looks like a token`},
		{minimal, []string{"streaming=true"}, "streaming: the length of the data is not known: set max_steps"},
		{minimal, []string{"streaming=true", "max_steps=5", "max_samples=3"}, "max_samples: it cannot be combined with streaming"},
		{minimal, []string{"mask_history=true", "train_on_prompt=true"}, "mask_history: it cannot be combined with train_on_prompt"},
		{minimal, []string{"stage=pt", "neat_packing=true"}, "neat_packing: it needs stage: sft"},
		{minimal, []string{"dataset_dir=REMOTE:x/y"}, "dataset_dir: REMOTE:x/y is on a hub"},
		{minimal, []string{"dataset_dir=[1]"}, "dataset_dir: expected a folder or a map"},
		{minimal, []string{"finetuning_type=full", "adapter_name_or_path=a"}, "adapter_name_or_path: an adapter needs finetuning_type: lora"},
		{minimal, []string{"finetuning_type=full", "use_rslora=true"}, "use_rslora: it needs finetuning_type: lora"},
		{minimal, []string{"finetuning_type=full", "loraplus_lr_ratio=16"}, "loraplus_lr_ratio: it needs finetuning_type: lora"},
		{minimal, []string{"early_stopping_steps=3"}, "early_stopping_steps: it counts evaluations"},
		{minimal, []string{"early_stopping_min_delta=-1"}, "early_stopping_min_delta: it must not be negative"},
		{minimal, []string{"val_size=0.1", "eval_strategy=steps", "eval_steps=3", "save_steps=5", "load_best_model_at_end=true"}, "load_best_model_at_end: save_steps (5) must be a multiple of eval_steps (3)"},
		{minimal, []string{"load_best_model_at_end=true"}, "load_best_model_at_end: it needs eval_strategy and save_strategy to be equal"},
		{minimal, []string{"predict_with_generate=true"}, "predict_with_generate: it only affects do_predict"},
		{minimal, []string{"train_type=static_full"}, "train_type: string 'static_full' is not one of static, dynamic_select, dynamic_mix, dynamic_weight, dynamic_reorder, dynamic_lego"},
		{minimal, []string{"train_type=dynamic_lego"}, "component_name: train_type dynamic_lego needs a component: name an entry of pipelines in configs/components.yaml"},
		{dynamic, []string{"train_type=dynamic_lego", "val_size=0.1"}, "val_size: dynamic_lego trains on whole data sets: name an eval_dataset instead"},
		{dynamic, []string{"update_step=0"}, "override 'update_step=0': update_step: train_type dynamic_select decides every update_step steps: set it to at least 1"},
		{dynamic, []string{"warmup_step=0"}, "warmup_step: train_type dynamic_select trains warmup_step steps"},
		{dynamic, []string{"update_step=-1"}, "update_step: it must not be negative"},
		{dynamic, []string{"component_name=null"}, "component_name: train_type dynamic_select needs a component: name an entry of selectors in configs/components.yaml"},
		{dynamic, []string{"train_type=dynamic_mix", "init_mixture_proportions=[0.5, 0.5]"}, "init_mixture_proportions: it has 2 entries for 1 datasets"},
		{minimal, []string{"mode=upstream"}, "mode: it belongs into configs/components.yaml"},
		{minimal + "seed: 1\nseed: 2\n", nil, "c.yaml:7:1: duplicate key \"seed\": already given at c.yaml:6:1"},
		{"model: x\n", nil, "c.yaml:1:1: unknown key \"model\": it belongs to LLaMA-Factory's v1 format"},
		{"model_name_or_path: m\nexport_dir: e\n", nil, "c.yaml:2:13: export_dir: this configuration exports a model: give it to dataflex-cli export"},
	} {
		if got := loadError(t, c.text, c.overrides...); !strings.Contains(got, c.want) {
			t.Errorf("%v: got\n%s\nwant\n%s", c.overrides, got, c.want)
		}
	}
}

func TestSeveralFaultsAtOnce(t *testing.T) {
	got := loadError(t, minimal, "cutoff_len=0", "seed=-1", "lora_rank=0")
	for _, key := range []string{"cutoff_len", "seed", "lora_rank"} {
		if !strings.Contains(got, key+": ") {
			t.Errorf("%s is missing in\n%s", key, got)
		}
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load("nowhere.yaml", nil); err == nil || !strings.Contains(err.Error(), "nowhere.yaml") {
		t.Errorf("got %v", err)
	}
}

func TestLoadExport(t *testing.T) {
	const text = "model_name_or_path: m\nadapter_name_or_path: a,b\ntemplate: llama3\nexport_dir: e\nexport_size: 2\nexport_legacy_format: false\nbf16: true\n"
	c, err := LoadExport(write(t, "c.yaml", text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Export != (Export{Dir: "e", Size: 2, GGUF: "auto"}) || !slices.Equal(c.Model.AdapterNameOrPath, []string{"a", "b"}) {
		t.Errorf("%+v %+v", c.Export, c.Model)
	}
	if !slices.ContainsFunc(c.Notices(), func(s string) bool { return strings.Contains(s, "bf16 has no effect on export") }) {
		t.Errorf("notices %q", c.Notices())
	}
	for _, o := range []string{"export_dir=null", "export_size=0", "export_legacy_format=true", "export_quantization_bit=4"} {
		key, _, _ := strings.Cut(o, "=")
		if _, err := LoadExport("c.yaml", []string{o}); err == nil || !strings.Contains(err.Error(), key+": ") {
			t.Errorf("%s: got %v", o, err)
		}
	}
}

func TestWarmup(t *testing.T) {
	for _, c := range []struct {
		t     Training
		total int
		want  int
	}{{Training{WarmupRatio: 0.1}, 8, 1}, {Training{WarmupSteps: 3, WarmupRatio: 0.5}, 10, 3}, {Training{}, 10, 0}, {Training{WarmupRatio: 1}, 10, 10}} {
		if got := c.t.Warmup(c.total); got != c.want {
			t.Errorf("%v of %d: got %d, want %d", c.t.WarmupRatio, c.total, got, c.want)
		}
	}
}

func TestTargetsAreFresh(t *testing.T) {
	a, b := mustLoad(t, minimal), mustLoad(t, minimal)
	a.Tuning.LoRATarget[0] = "changed"
	if b.Tuning.LoRATarget[0] != "all" {
		t.Error("two configurations share a default list")
	}
}

// loadText loads a configuration written to the current folder.
func loadText(text string) (*Config, error) {
	if err := os.WriteFile("c.yaml", []byte(text), 0o600); err != nil {
		return nil, err
	}
	return Load("c.yaml", nil)
}

// TestModelForConfiguration: a model's folder in the place of a configuration.
func TestModelForConfiguration(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadGenerate(dir, nil); err == nil || !strings.Contains(err.Error(), "write --model_name_or_path "+dir) {
		t.Error(err)
	}
}

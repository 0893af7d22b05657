package train_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/driver"
)

// stage is the configuration's line that asks for a stage.
func stage(n int) string {
	return "deepspeed={zero_optimization: {stage: " + string(rune('0'+n)) + "}}"
}

// TestNothingToShare: one process trains, and says once that it has nothing to share.
func TestNothingToShare(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := "output_dir=" + filepath.Join(f.dir, "out")
	var said bytes.Buffer
	for _, err := range f.together(1, func(_ int, _ *config.Config, o *train.Options) context.Context {
		o.Log = slog.New(slog.NewTextHandler(&said, nil))
		return nil
	}, out, stage(3), "max_steps=1") {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "there is nothing to share out"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
	f.mustTogether(1, "output_dir="+filepath.Join(f.dir, "plain"), "max_steps=1")
	if string(adapter(t, filepath.Join(f.dir, "out"))) != string(adapter(t, filepath.Join(f.dir, "plain"))) {
		t.Error("the stage changes what one process trains")
	}
	err := f.together(1, nil, "output_dir="+filepath.Join(f.dir, "rows"), "deepspeed={train_batch_size: 7}")[0]
	if err == nil || !strings.Contains(err.Error(), "train_batch_size is 7, and a step takes ") {
		t.Error(err)
	}
}

// tensorFiles are the files of weights and of the optimizer's state in an output_dir, its
// checkpoints included, by name.
func tensorFiles(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".safetensors") {
			return err
		}
		raw, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		out[name] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sameRuns compares what two runs left: weights, checkpoints, records and evaluations.
func sameRuns(t *testing.T, what, got, want string) {
	t.Helper()
	a, b := tensorFiles(t, got), tensorFiles(t, want)
	if len(b) == 0 {
		t.Errorf("%s: no files of tensors", what)
	}
	for name := range b {
		if a[name] != b[name] {
			t.Errorf("%s: %s differs", what, name)
		}
	}
	if a, b := records(t, got), records(t, want); a != b {
		t.Errorf("%s: records\n%s\nwant\n%s", what, a, b)
	}
	if a, b := evaluations(t, got), evaluations(t, want); a != b {
		t.Errorf("%s: evaluations\n%s\nwant\n%s", what, a, b)
	}
}

// TestGoldenSharded: what processes share out changes no byte of what they leave, whatever
// trains and decides, the checkpoints with the optimizer's state included.
func TestGoldenSharded(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.offline(48)
	f.wide()
	wide, begun := "model_name_or_path="+filepath.Join(f.dir, "wide"), filepath.Join(f.dir, "begun")
	f.mustTogether(1, wide, "additional_target=lm_head", "max_steps=1", "output_dir="+begun)
	runs := map[string][]string{
		"wide":              {wide, "finetuning_type=full", "weight_decay=0.1", "replay_every=2"},
		"wide, dropped out": {wide, "lora_rank=64", "lora_dropout=0.1", "neftune_noise_alpha=5"},
		"wide, bf16":        {wide, "finetuning_type=full", "bf16=true"},
		"wide, qlora":       {wide, "quantization_bit=4", "lora_rank=8"},
		"wide, dora":        {wide, "use_dora=true"},
		"wide, saves":       {wide, "additional_target=lm_head", "bf16=true"},
		"wide, goes on":     {wide, "adapter_name_or_path=" + begun, "bf16=true"},
		"wide, half":        {wide, "finetuning_type=freeze", "freeze_trainable_layers=2", "freeze_trainable_modules=mlp", "load_best_model_at_end=true", "learning_rate=0.05", "bf16=true"},
		"lora":              {"lora_dropout=0.1", "replay_every=2", "load_best_model_at_end=true"},
		"loraplus":          {"loraplus_lr_ratio=4", "weight_decay=0.1"},
		"full":              {"finetuning_type=full", "gradient_accumulation_steps=2", "weight_decay=0.1"},
		"full lion":         {"finetuning_type=full", "optim=lion_32bit"},
		"freeze sgd":        {"finetuning_type=freeze", "freeze_trainable_layers=1", "optim=sgd", "weight_decay=0.1"},
	}
	forms := map[string]bool{"wide, bf16": true, "wide, qlora": true, "wide, dora": true, "wide, saves": true, "wide, goes on": true, "wide, half": true} // of weights
	for name, args := range runs {
		runs[name] = append(args, "max_steps=4", "save_steps=2", "eval_strategy=steps", "eval_steps=2")
	}
	for _, m := range methods(t) {
		switch m.String() {
		case "selector less, faithful", "selector less, upstream", "selector icons, faithful", "selector zeroth, faithful", "pipeline chain, faithful", "mixer odm, faithful":
			t.Run(m.String(), func(t *testing.T) {
				f.t = t
				f.everyStage([][2]int{{4, 2}, {4, 4}}, m.arguments(f, "save_steps=2")...)
			})
		}
	}
	for name, args := range runs {
		t.Run(name, func(t *testing.T) {
			f.t = t
			pairs := [][2]int{{2, 2}, {4, 2}, {4, 4}, {6, 3}}
			if forms[name] {
				pairs = pairs[2:3]
			}
			f.everyStage(pairs, args...)
		})
	}
}

// wide writes a model whose layers are so large that their gradients are added up one by one.
func (f *fixture) wide() {
	f.model("wide", map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 3,
		"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": false, "initializer_range": 0.1,
	})
}

// stages are those that several processes can be asked for.
var stages = []int{1, 2, 3}

// everyStage trains with each pair of logical ranks and processes at stage 3 and, in turn, at 1 or
// 2, and compares with one process that shares nothing.
func (f *fixture) everyStage(pairs [][2]int, overrides ...string) {
	f.t.Helper()
	single := map[int]string{}
	out := func(logical, processes, n int) string {
		dir := filepath.Join(f.t.TempDir(), fmt.Sprint(logical, "-on-", processes, "-stage-", n))
		f.clear()
		f.mustTogether(processes, append(slices.Clip(overrides), "output_dir="+dir, fmt.Sprint("ranks=", logical), stage(n))...)
		return dir
	}
	for i, p := range pairs {
		logical, processes := p[0], p[1]
		if single[logical] == "" {
			single[logical] = out(logical, 1, 0)
		}
		for _, n := range []int{2 - i%2, 3} {
			sameRuns(f.t, fmt.Sprintf("stage %d, %d logical ranks on %d processes", n, logical, processes), out(logical, processes, n), single[logical])
		}
	}
}

// TestShardedResumes: a run that was stopped, or killed, at one stage on so many processes goes
// on at another on any other number of them, and ends as one that nobody stopped.
func TestShardedResumes(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := func(name string, more ...string) []string {
		return append([]string{"finetuning_type=full", "max_steps=6", "save_steps=2", "output_dir=" + filepath.Join(f.dir, name)}, more...)
	}
	f.mustTogether(1, out("whole", "ranks=4")...)
	for step := 1; step < 6; step++ {
		name := fmt.Sprint("stopped", step)
		for rank, err := range f.together(4, stopAt(step, step%4), out(name, stage(stages[step%len(stages)]))...) {
			if !errors.Is(err, train.ErrInterrupted) {
				t.Fatalf("rank %d: %v", rank, err)
			}
		}
		f.mustTogether([]int{1, 2, 4}[step%3], out(name, stage([]int{0, 1, 3}[step%3]))...)
		sameRuns(t, fmt.Sprint("stopped after step ", step), filepath.Join(f.dir, name), filepath.Join(f.dir, "whole"))
	}
	// One is killed: nobody can save, and the run goes on from the last checkpoint.
	errs := f.together(2, func(r int, _ *config.Config, o *train.Options) context.Context {
		if r == 1 {
			o.Progress = killAt(3)
		}
		return nil
	}, out("killed", "ranks=4", stage(1))...)
	if errs[0] == nil || !strings.Contains(errs[0].Error(), "waited for the others, step 3") || !strings.Contains(errs[0].Error(), "the last good checkpoint is ") {
		t.Errorf("%v", errs[0])
	}
	f.mustTogether(4, out("killed", stage(1))...)
	sameRuns(t, "killed", filepath.Join(f.dir, "killed"), filepath.Join(f.dir, "whole"))
}

// leaving is a rank whose process dies in its nth call of a kind.
type leaving struct {
	driver.Collective
	kind driver.CallKind
	n    int
}

func (l *leaving) dies(kind driver.CallKind) {
	if kind != l.kind {
		return
	}
	if l.n--; l.n == 0 {
		_ = l.Close()
		runtime.Goexit()
	}
}

func (l *leaving) AllToAll(ctx context.Context, in, out driver.F32) error {
	l.dies(driver.AllToAll)
	return l.Collective.AllToAll(ctx, in, out)
}

func (l *leaving) AllGather(ctx context.Context, in, out driver.F32) error {
	l.dies(driver.AllGather)
	return l.Collective.AllGather(ctx, in, out)
}

// TestShardedKilledInACall: a rank that dies while the gradients of a layer are added up, or the
// weights are sent, is named on the others, and the run goes on from the last checkpoint on
// another number of processes to the same bytes.
func TestShardedKilledInACall(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.wide()
	out := func(name string, more ...string) []string {
		return append([]string{"model_name_or_path=" + filepath.Join(f.dir, "wide"), "finetuning_type=full", "optim=sgd", "max_steps=4", "save_steps=2", "output_dir=" + filepath.Join(f.dir, name)}, more...)
	}
	f.mustTogether(1, out("whole", "ranks=2")...)
	const units = 5 // of a step: the embeddings, three layers, the head
	// At stage 3 weights are gathered before the first step, in a step forward and, but for the two
	// sections with which it begins, backward, and for the checkpoint.
	const before = units + 2*(units+units-2) + units
	for _, c := range []struct {
		kind      driver.CallKind
		at        int // the call
		says      string
		processes int // that go on
		stage     int
	}{
		{driver.AllToAll, 2*units + 1, "adding the gradients", 1, 2},
		{driver.AllToAll, 2*units + 3, "adding the gradients", 2, 2},
		{driver.AllGather, 2*units + 2, "the weights", 2, 2},
		{driver.AllGather, before + 3, "gathering the weights of layer 1", 2, 3},
		{driver.AllGather, before + 5 + 2, "gathering the weights of layer 0", 1, 3},
	} {
		name := fmt.Sprint(c.kind, c.at)
		errs := f.together(2, func(r int, _ *config.Config, o *train.Options) context.Context {
			if r == 1 {
				join := o.Join
				o.Join = func(ctx context.Context, dev driver.Device) (driver.Collective, error) {
					connection, err := join(ctx, dev)
					return &leaving{connection, c.kind, c.at}, err
				}
			}
			return nil
		}, out(name, stage(c.stage))...)
		for _, says := range []string{"rank 1 left the job", "step 3, " + c.says, "the last good checkpoint is ", "checkpoint-2"} {
			if errs[0] == nil || !strings.Contains(errs[0].Error(), says) {
				t.Errorf("%s: rank 0 does not say %q: %v", name, says, errs[0])
			}
		}
		f.mustTogether(c.processes, out(name, stage(c.stage*(c.processes-1)))...)
		sameRuns(t, name, filepath.Join(f.dir, name), filepath.Join(f.dir, "whole"))
	}
}

// TestShardedFails: of an error of one rank all are told, and they save what they keep
// together.
func TestShardedFails(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := func(name string) []string {
		return []string{"output_dir=" + filepath.Join(f.dir, name), "max_steps=6", "finetuning_type=full"}
	}
	f.mustTogether(1, append(out("whole"), "ranks=2")...)
	for failing := range 2 {
		name := fmt.Sprint("failed", failing)
		errs := f.together(2, func(r int, _ *config.Config, o *train.Options) context.Context {
			if r == failing {
				o.Progress = fall(3)
			}
			return nil
		}, append(out(name), stage(1+2*failing))...)
		for rank, err := range errs {
			if !ranks.Told(err) {
				t.Errorf("rank %d failed, rank %d ended with %v", failing, rank, err)
			}
		}
		if errs[0] == nil || !strings.Contains(errs[0].Error(), "a planted fault") || !strings.Contains(errs[0].Error(), "step 3 is saved in ") {
			t.Errorf("%v", errs[0])
		}
		f.mustTogether(1, out(name)...)
		if a, b := tensorFiles(t, filepath.Join(f.dir, name)), tensorFiles(t, filepath.Join(f.dir, "whole")); a["model.safetensors"] != b["model.safetensors"] {
			t.Errorf("rank %d failed: the run trains another model", failing)
		}
	}
}

// TestShardedNaN: a row that spoils its loss or its gradient is left out as without shares.
func TestShardedNaN(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]map[string]string{"loss": question("Z", "no"), "gradient": question("Add 1 and 1", "2 "+strings.Repeat("Z", 60))} {
		f, with := poisoned(t)
		f.json("pool.json", []map[string]string{question("Add 1 and 2", "3"), question("Write in capitals: mo", "MO"), row, question("Add 4 and 5", "9")})
		args := func(out string, more ...string) []string {
			return append([]string{with, "cutoff_len=31", "max_steps=4", "per_device_train_batch_size=1", "ranks=2", "output_dir=" + filepath.Join(f.dir, out)}, more...)
		}
		f.mustTogether(1, args("one")...)
		for _, n := range stages {
			out := fmt.Sprint("two", n)
			f.mustTogether(2, args(out, stage(n))...)
			sameRuns(t, fmt.Sprint(name, ", stage ", n), filepath.Join(f.dir, out), filepath.Join(f.dir, "one"))
		}
	}
}

// TestShardedRefusals: what cannot be shared out is refused by name, with the way out.
func TestShardedRefusals(t *testing.T) {
	t.Parallel()
	f := small(t)
	for _, c := range []struct {
		stage     int
		args, way string
		says      string
	}{
		{1, "optim=adafactor", "stage 0", "adafactor keeps means of whole rows and columns"},
		{1, "use_muon=true", "stage 0", "muon orthogonalises whole matrices"},
		{3, "resize_vocab=true", "stage 2", "resize_vocab: embeddings that are shared out among processes"},
	} {
		for rank, err := range f.together(2, nil, "output_dir="+filepath.Join(f.dir, "out"), stage(c.stage), c.args) {
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.way) {
				t.Errorf("%s, rank %d: %v", c.args, rank, err)
			}
		}
	}
}

// TestStage3Predicts: rank 0 answers prompts with weights that all ranks keep, as one process does.
func TestStage3Predicts(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.wide()
	answers := map[int]string{}
	for _, processes := range []int{1, 2} {
		out := filepath.Join(f.dir, fmt.Sprint(processes))
		f.mustTogether(processes, "model_name_or_path="+filepath.Join(f.dir, "wide"), "finetuning_type=full", "ranks=2", stage(3), "max_steps=2", "output_dir="+out,
			"do_eval=true", "do_predict=true", "predict_with_generate=true", "max_new_tokens=6", "do_sample=false", "per_device_eval_batch_size=2", "max_samples=5")
		answers[processes] = string(readFile(t, filepath.Join(out, "generated_predictions.jsonl")))
	}
	if answers[1] != answers[2] || !strings.Contains(answers[1], "predict") {
		t.Errorf("two processes answer\n%s\none\n%s", answers[2], answers[1])
	}
}

// TestStage3Planned: the plan of each process says what is sharded, and what stays whole.
func TestStage3Planned(t *testing.T) {
	t.Parallel()
	f := small(t)
	var plan bytes.Buffer
	for rank, err := range f.together(2, func(rank int, _ *config.Config, o *train.Options) context.Context {
		if o.DryRun = true; rank == 0 {
			o.Out = &plan
		}
		return nil
	}, "output_dir="+filepath.Join(f.dir, "out"), stage(3)) {
		if err != nil {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
	for _, says := range []string{
		"on 2 processes, of which each needs the memory below; they shard the optimizer's state, the gradients and the weights (deepspeed, stage 3)",
		"it has all of model.embed_tokens.weight, which several sections use",
	} {
		if !strings.Contains(plan.String(), says) {
			t.Errorf("the plan does not say %q:\n%s", says, plan.String())
		}
	}
}

// TestWholeGradientsAreSaid: where gradients cannot be sharded to the same bits, stage 2 keeps them
// whole and says why, once.
func TestWholeGradientsAreSaid(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.wide()
	wide := "model_name_or_path=" + filepath.Join(f.dir, "wide")
	for i, c := range []struct {
		args []string
		says string // "" where gradients are sharded
	}{
		{[]string{wide}, ""},
		{[]string{"finetuning_type=full", "gradient_accumulation_steps=1"}, ""},
		{[]string{"ranks=4"}, "each process computes 2 logical ranks, one after another: start 4 processes"},
		{[]string{"finetuning_type=full"}, "micro-batches cannot share a pass, and their gradients add up: the head is the embeddings"},
		{[]string{"merge_tokens=100"}, "merge_tokens divides the micro-batches of a step into several passes"},
	} {
		var said bytes.Buffer
		for rank, err := range f.together(2, func(rank int, _ *config.Config, o *train.Options) context.Context {
			if rank == 0 {
				o.Log = slog.New(slog.NewTextHandler(&said, nil))
			}
			return nil
		}, append(c.args, "output_dir="+filepath.Join(f.dir, fmt.Sprint("out", i)), stage(2), "max_steps=1")...) {
			if err != nil {
				t.Fatalf("%v, rank %d: %v", c.args, rank, err)
			}
		}
		const whole = "every process keeps whole gradients, as at stage 1: "
		if n := strings.Count(said.String(), whole); c.says == "" && n != 0 || c.says != "" && (n != 1 || !strings.Contains(said.String(), whole+c.says)) {
			t.Errorf("%v: it is said %d times, want %q:\n%s", c.args, n, c.says, said.String())
		}
	}
}

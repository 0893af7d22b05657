package train_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/model/checkpoint"
)

// shortRun is a recorded LESS run of five steps and a selection by plain PyTorch and PEFT
// (tools/golden/bf16_run.py), in float32 and in bf16.
type shortRun struct {
	Rows        []int
	Steps       []recordedStep
	BF16Steps   []recordedStep `json:"bf16_steps"`
	Score       []float64
	BF16Score   []float64 `json:"bf16_score"`
	UpdateError float64   `json:"bf16_update_error"` // of the adapter's change, relative
}

type recordedStep struct {
	Loss float64
	Norm float64 `json:"grad_norm"`
}

// TestTrainsOnTheInterpreter: with the PTX kernels the losses and the choice are the
// recorded ones, as on the host, in float32; and in bf16 with at most twice the errors of
// PyTorch's bf16.
func TestTrainsOnTheInterpreter(t *testing.T) {
	var want shortRun
	readJSON(t, "testdata/bf16_run.json", &want)
	f := newFixture(t)
	run := func(name, device string, more ...string) string {
		t.Setenv("DATAFLEX_CACHE", filepath.Join(f.dir, "cache", name))
		f.write("components.yaml", fmt.Sprintf("selectors:\n  less:\n    name: less\n    mode: upstream\n    params: {cache_dir: %s/cache/%s, projection: none, seed: 123}\n", f.dir, name))
		dir := filepath.Join(f.dir, name)
		args := append([]string{
			"output_dir=" + dir, "cutoff_len=32", "max_samples=6", "adapter_name_or_path=testdata/less_run/start",
			"per_device_train_batch_size=1", "gradient_accumulation_steps=1", "max_steps=-1", "num_train_epochs=1.0",
			"train_type=dynamic_select", "component_name=less", "warmup_step=2", "update_step=3", "update_times=1",
		}, more...)
		if err := f.runOn(device, args...); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	host := run("cpu", "cpu")
	for name, allowed := range map[string]deviation{
		"cpu":  {1e-4, 1e-4, 1e-5, 1e-6},
		"sim":  {1e-4, 1e-4, 1e-5, 1e-4},
		"bf16": want.bf16(),
		// AMX or AVX512-BF16, where the processor has them.
		"bf16 on the cpu": want.bf16(),
	} {
		dir := host
		switch name {
		case "sim":
			dir = run(name, "sim")
		case "bf16":
			dir = run(name, "sim", "bf16=true")
		case "bf16 on the cpu":
			dir = run(name, "cpu", "bf16=true")
		}
		got := want.compare(t, dir, filepath.Join(f.dir, "cache", name, "step_2.json"))
		got.update = adapterDistance(t, host, dir, "testdata/less_run/start")
		t.Logf("%s: off by %.2g, allowed %.2g", name, got, allowed)
		if got.loss > allowed.loss || got.norm > allowed.norm || got.score > allowed.score || got.update > allowed.update {
			t.Errorf("%s: off by %.2g, allowed %.2g", name, got, allowed)
		}
	}
}

// deviation is the largest errors of a run relative to the recorded one in float32: of a
// step's loss, a norm, a row's score, and of the adapter's change relative to the host's.
type deviation struct{ loss, norm, score, update float64 }

// bf16 is twice the errors of PyTorch's bf16.
func (r shortRun) bf16() deviation {
	d := deviation{update: 2 * r.UpdateError}
	for i, s := range r.BF16Steps {
		d.step(2*(s.Loss-r.Steps[i].Loss), 2*(s.Norm-r.Steps[i].Norm))
	}
	for i, s := range r.BF16Score {
		d.score = max(d.score, 2*math.Abs(s-r.Score[i]))
	}
	return d
}

func (d *deviation) step(loss, norm float64) {
	d.loss, d.norm = max(d.loss, math.Abs(loss)), max(d.norm, math.Abs(norm))
}

func (r shortRun) compare(t *testing.T, dir, scores string) deviation {
	t.Helper()
	loss, norm := losses(t, dir)
	if len(loss) != len(r.Steps) {
		t.Fatalf("%s: %d steps, recorded %d", dir, len(loss), len(r.Steps))
	}
	var d deviation
	for i, s := range r.Steps {
		d.step(loss[i]-s.Loss, norm[i]-s.Norm)
	}
	var choice struct {
		Indices []int
		Metric  struct {
			Similarity []float64 `json:"train_eval_similarity"`
		}
	}
	readJSON(t, scores, &choice)
	for i, row := range choice.Indices {
		if !slices.Contains(r.Rows[2:], row) {
			t.Errorf("%s: chosen %v, recorded %v", dir, choice.Indices, r.Rows[2:])
		}
		d.score = max(d.score, math.Abs(choice.Metric.Similarity[i]-r.Score[row]))
	}
	return d
}

// adapterDistance is the distance between a and b, relative to that between start and a.
func adapterDistance(t *testing.T, a, b, start string) float64 {
	t.Helper()
	wa, wb, w0 := weights(t, a), weights(t, b), weights(t, start)
	var apart, way float64
	for name, x := range wa {
		for i, v := range x {
			apart, way = apart+math.Pow(float64(wb[name][i]-v), 2), way+math.Pow(float64(v-w0[name][i]), 2)
		}
	}
	return math.Sqrt(apart / way)
}

// TestGoldenLlamaOnTheInterpreter: five LoRA steps of the golden tiny llama, which has a
// separate head and a vocabulary of 6400, in float32 and in bf16.
func TestGoldenLlamaOnTheInterpreter(t *testing.T) {
	llama, err := filepath.Abs(filepath.Join(golden, "models/tiny-llama"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(llama); err != nil || testing.Short() {
		t.Skip("it takes twenty seconds, where there is one: ", err)
	}
	f := newFixture(t)
	run := func(device, bf16 string) (dir string) {
		dir = filepath.Join(f.dir, device+bf16)
		err := f.runOn(device, "output_dir="+dir, "model_name_or_path="+llama, "template=qwen", "cutoff_len=32",
			"per_device_train_batch_size=1", "gradient_accumulation_steps=1", "max_steps=5", "bf16="+bf16)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	host := run("cpu", "false")
	sameRun(t, host, run("sim", "false"), 5, 1e-4)
	sameRun(t, host, run("sim", "true"), 5, 3e-2)
	sameRun(t, host, run("cpu", "true"), 5, 3e-2)
}

// TestDevicesRefuseWhatTheyCannot: a missing kernel is an error before anything is computed,
// and a missing GPU is not replaced.
func TestDevicesRefuseWhatTheyCannot(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct{ device, override, want string }{
		{"cuda", "seed=1", "--device cuda: "},
		{"cuda:x", "seed=1", "numbered"},
		{"sim:70", "seed=1", "sim:90"},
		{"tpu", "seed=1", "the devices are"},
	} {
		if err := f.runOn(c.device, c.override); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.device, c.override, err, c.want)
		}
	}
}

// TestPlanSaysThePrecision: the plan describes the precision, and has its memory.
func TestPlanSaysThePrecision(t *testing.T) {
	f := newFixture(t)
	plannedWeights := regexp.MustCompile(`weights ([0-9.]+ .iB)`)
	// 353280 weights in matrices, 304128 of them in linears, and 672 in norms. Codes of the
	// 21 linears take half a byte, one byte per 64 of them, and 1.1 KiB of tables each.
	type planned struct{ device, bf16, precision, weights string }
	host := planned{"cpu", "true", "float32: cpu has no units for bf16", "1.4 MiB"}
	if gemm.Packs() {
		host.weights = "3.7 MiB" // the linears packed for both kinds of product: 8 bytes more each
	}
	if simd.Unit() != "" {
		// The linears are also packed for both kinds of product: 4 bytes more each.
		host.precision, host.weights = "bf16 on A", "1.9 MiB"
	}
	for _, c := range []planned{
		{"cpu", "false quantization_bit=4", "precision        float32; the layers' linears in nf4 codes", "372.0 KiB"},
		host,
		{"sim", "true", "bf16 on tensor cores", "692.6 KiB"},
		{"sim", "false", "precision        float32\n", "1.4 MiB"},
	} {
		var out bytes.Buffer
		config, err := config.Load(filepath.Join(f.dir, "run.yaml"), strings.Fields("bf16="+c.bf16))
		if err != nil {
			t.Fatal(err)
		}
		err = train.Run(context.Background(), config, train.Options{Device: c.device, DryRun: true, Out: &out, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		m := plannedWeights.FindStringSubmatch(out.String())
		if !strings.Contains(out.String(), c.precision) || m == nil || m[1] != c.weights {
			t.Errorf("%s, bf16 %s: want %q and weights of %s in\n%s", c.device, c.bf16, c.precision, c.weights, out.String())
		}
	}
}

// sameRun compares two runs' losses, norms and adapters.
func sameRun(t *testing.T, want, got string, steps int, tolerance float64) {
	t.Helper()
	wantLoss, wantNorm := losses(t, want)
	gotLoss, gotNorm := losses(t, got)
	if len(wantLoss) != steps || len(gotLoss) != steps {
		t.Fatalf("%d and %d losses, want %d", len(wantLoss), len(gotLoss), steps)
	}
	for i := range wantLoss {
		if math.Abs(gotLoss[i]-wantLoss[i]) > tolerance || math.Abs(gotNorm[i]-wantNorm[i]) > tolerance*wantNorm[i] {
			t.Errorf("step %d: loss %v norm %v, on the host %v %v", i+1, gotLoss[i], gotNorm[i], wantLoss[i], wantNorm[i])
		}
	}
	a, b := weights(t, want), weights(t, got)
	var diff, size float64
	for name, x := range a {
		for i, v := range b[name] {
			diff, size = diff+math.Pow(float64(v-x[i]), 2), size+math.Pow(float64(x[i]), 2)
		}
	}
	relative := math.Sqrt(diff / size)
	t.Logf("losses %v and %v; relative difference of the adapters %.1e", wantLoss, gotLoss, relative)
	if !(relative < tolerance) {
		t.Errorf("the adapters differ by %v of their length", relative)
	}
}

func weights(t *testing.T, dir string) map[string][]float32 {
	t.Helper()
	w, err := checkpoint.OpenFile(filepath.Join(dir, storage.AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	return read(t, w)
}

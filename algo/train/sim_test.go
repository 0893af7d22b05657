package train_test

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflex/model/checkpoint"
)

// TestTrainsOnTheInterpreter: five LoRA steps by the PTX kernels, with a selection by
// LESS before the third, give the losses, norms, choice and adapter of the host's; and
// in bf16 what rounding the operands of products leaves of them.
func TestTrainsOnTheInterpreter(t *testing.T) {
	f := newFixture(t)
	raw, err := os.ReadFile(filepath.Join(f.dir, "components.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	run := func(name, device string, more ...string) (dir string) {
		// Caches of its own: a selection must not be taken from the other run.
		t.Setenv("DATAFLEX_CACHE", filepath.Join(f.dir, "cache", name))
		f.write("components.yaml", strings.NewReplacer("/cache/", "/cache/"+name+"/", "projection: sjlt, proj_dim: 256", "projection: rademacher, proj_dim: 64").Replace(string(raw)))
		dir = filepath.Join(f.dir, name)
		args := append([]string{
			"output_dir=" + dir, "cutoff_len=32", "max_samples=6", "lora_rank=2",
			"per_device_train_batch_size=1", "gradient_accumulation_steps=1", "max_steps=5",
			"train_type=dynamic_select", "component_name=less", "warmup_step=2", "update_step=3", "update_times=1",
		}, more...)
		if err := f.runOn(device, args...); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	host := run("cpu", "cpu")
	want := rows.FindAllString(selected(t, host), -1)
	for _, c := range []struct {
		name, device string
		args         []string
		tolerance    float64
	}{
		{"sim", "sim", nil, 1e-4},
		{"bf16", "sim", []string{"bf16=true"}, 3e-2},
	} {
		sim := run(c.name, c.device, c.args...)
		sameRun(t, host, sim, 5, c.tolerance)
		if got := rows.FindAllString(selected(t, sim), -1); len(want) == 0 || !slices.Equal(got, want) {
			t.Errorf("%s selects %v, the host %v", c.name, got, want)
		}
	}
}

var rows = regexp.MustCompile(`"row": ?\d+`)

// TestGoldenLlamaOnTheInterpreter: five LoRA steps of the golden tiny llama, which has a
// head of its own and a vocabulary of 6400.
func TestGoldenLlamaOnTheInterpreter(t *testing.T) {
	llama, err := filepath.Abs(filepath.Join(golden, "models/tiny-llama"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(llama); err != nil || testing.Short() {
		t.Skip("it takes ten seconds, where there is one: ", err)
	}
	f := newFixture(t)
	run := func(device string) (dir string) {
		dir = filepath.Join(f.dir, device)
		err := f.runOn(device, "output_dir="+dir, "model_name_or_path="+llama, "template=qwen", "cutoff_len=32",
			"per_device_train_batch_size=1", "gradient_accumulation_steps=1", "max_steps=5")
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	sameRun(t, run("cpu"), run("sim"), 5, 1e-4)
}

// TestDevicesRefuseWhatTheyCannot: what there is no kernel for is an error before
// anything is computed, and a GPU that is not there is not replaced.
func TestDevicesRefuseWhatTheyCannot(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct{ device, override, want string }{
		{"sim", "lora_dropout=0.1", "lora_dropout"},
		{"sim", "neftune_noise_alpha=5", "neftune_noise_alpha"},
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

func selected(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "selected_rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
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
	w, err := checkpoint.OpenFile(filepath.Join(dir, checkpoint.AdapterFile))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	out := map[string][]float32{}
	for _, name := range w.Names() {
		shape, _ := w.Shape(name)
		out[name] = make([]float32, shape[0]*shape[1])
		if err := w.ReadFloat32(name, out[name]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

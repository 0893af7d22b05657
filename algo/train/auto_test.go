package train

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/model/decoder"
)

// TestProve: a device that the user did not name passes the self-test once for each driver
// and program; one with a wrong kernel does not, and is not recorded.
func TestProve(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	log := slog.New(slog.DiscardHandler)
	for i, want := range []string{"passed", "passed before"} {
		dev := sim.New(sim.Options{})
		tested, err := prove(dev, dir, log)
		if launches := len(dev.Totals()); err != nil || tested != want || (launches > 0) != (i == 0) {
			t.Errorf("%q, %v, %d kernels launched, want %q", tested, err, launches, want)
		}
		dev.Close()
	}
	for _, f := range ptx.Families() {
		if f.Name() == "cast" { // the first kernel that is tested
			defer f.Replace(strings.ReplaceAll(f.Text(), "cvt.rn.bf16x2", "cvt.rz.bf16x2"))()
		}
	}
	dev := sim.New(sim.Options{Capability: 90}) // another device
	defer dev.Close()
	if _, err := prove(dev, dir, log); err == nil || !strings.HasPrefix(err.Error(), "cast: ") {
		t.Errorf("%v", err)
	}
	if kept, err := os.ReadDir(dir); err != nil || len(kept) != 1 {
		t.Errorf("%v, %v", kept, err)
	}
}

// TestChoose: a GPU that passes is used; one that fails, or that has no kernels for the
// model, is not, and the log gives the reason.
func TestChoose(t *testing.T) {
	dir := t.TempDir()
	config := `{"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
		"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": %d, "vocab_size": 8}`
	for heads, want := range map[int]string{64: "self_test=passed", 264: "no_gpu=\"the model needs attention with heads of 264, for which "} {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, config, heads), 0o644); err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		dev, err := choose(sim.New(sim.Options{}), decoder.HostOnly(dir), "", slog.New(slog.NewTextHandler(&text, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if (dev.Kind() == driver.Sim) != (heads == 64) || !strings.Contains(text.String(), want) {
			t.Errorf("heads of %d: %v, %s", heads, dev.Kind(), text.String())
		}
		dev.Close()
	}
	if what := decoder.HostOnly(filepath.Join(dir, "nowhere")); what != "" {
		t.Errorf("a folder that is not there needs %s", what)
	}
	for _, f := range ptx.Families() {
		if f.Name() == "cast" {
			defer f.Replace(strings.ReplaceAll(f.Text(), "cvt.rn.bf16x2", "cvt.rz.bf16x2"))()
		}
	}
	var text strings.Builder
	dev, err := choose(sim.New(sim.Options{}), "", "", slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil || dev.Kind() != driver.CPU || !strings.Contains(text.String(), "does not pass its self-test (--device cuda uses it nevertheless): cast: ") {
		t.Errorf("%v, %s", err, text.String())
	}
}

// TestAutoWithoutGPU: without a GPU the CPU is used, and the log gives the reason.
func TestAutoWithoutGPU(t *testing.T) {
	var text strings.Builder
	dev, err := OpenDevice("auto", slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if !strings.Contains(text.String(), "no_gpu=") {
		t.Errorf("%s", text.String())
	}
}

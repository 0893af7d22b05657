package train_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestQLoRAGoesOn: a run with quantised weights resumes bit for bit from its checkpoint;
// with other codes it is another run.
func TestQLoRAGoesOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ is, other, said string }{
		{"quantization_bit=4", "quantization_type=fp4", "quantization_type was nf4, is now fp4"},
		{"quantization_bit=8", "quantization_bit=4", "quantization_bit was 8, is now 4"},
	} {
		f := small(t)
		whole, out := filepath.Join(f.dir, "whole"), filepath.Join(f.dir, "out")
		args := []string{"save_steps=2", "max_steps=5", c.is}
		f.must(append(args, "output_dir="+whole)...)
		args = append(args, "output_dir="+out)
		f.begun(4, args...)
		log, err := f.said(train.Options{}, args...)
		if err != nil || !strings.Contains(log, "checkpoint-2") {
			t.Errorf("%s: it does not go on: %v\n%s", c.is, err, log)
		}
		if string(adapter(t, whole)) != string(adapter(t, out)) {
			t.Errorf("%s: the weights differ from those of an uninterrupted run", c.is)
		}
		log, err = f.said(train.Options{}, append(args, c.other)...)
		if err != nil || !strings.Contains(log, c.said) || !strings.Contains(log, "out.old-1") {
			t.Errorf("%s, then %s: %v\n%s", c.is, c.other, err, log)
		}
	}
}

// TestQuantisedFolderTrains: with a quantised folder only adapters can be trained, which the
// check reports before anything is loaded.
func TestQuantisedFolderTrains(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, run := range [][2]string{
		{"quantised/nf4", "full"},
		{"quantised/nf4", "freeze"},
		{"quantised/nf4", "lora"},
		{"grouped/gptq-int4", "full"},
		{"grouped/fp8-blocks", "freeze"},
		{"grouped/ct-int4", "lora"},
	} {
		folder, kind := "model_name_or_path=../../model/decoder/testdata/"+run[0], run[1]
		c, err := config.Load(filepath.Join(f.dir, "run.yaml"), []string{folder, "finetuning_type=" + kind})
		if err != nil {
			t.Fatal(err)
		}
		refused := false
		for _, err := range train.Check(c) {
			refused = refused || strings.Contains(err.Error(), "are quantised and cannot be trained: set finetuning_type: lora")
		}
		if refused != (kind != "lora") {
			t.Errorf("%v: refused %v", run, refused)
		}
	}
}

// TestQLoRASelects: LESS uses gradients of adapters on quantised weights.
func TestQLoRASelects(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.must("train_type=dynamic_select", "components_cfg_file="+f.dir+"/components.yaml", "component_name=less", "warmup_step=2", "update_step=2", "update_times=1", "quantization_bit=4")
	if _, err := os.Stat(filepath.Join(f.dir, "out/adapter_model.safetensors")); err != nil {
		t.Error(err)
	}
}

package train_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/model/checkpoint"
)

// TestFreezeGate: with freeze_gate the routers are unchanged, without it they change; mode
// upstream freezes every parameter with gate in its name.
func TestFreezeGate(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "mixers:\n  faithful: {name: dynamic_moe, params: {eval_samples: 3}}\n  upstream: {name: dynamic_moe, params: {mode: upstream, eval_samples: 3}}\n")
	f.qwen("qwen")
	base := tensors(t, filepath.Join(f.dir, "qwen"))
	for _, c := range []struct {
		args  []string
		keeps *regexp.Regexp // names of parameters that are not trained
	}{
		{[]string{"freeze_gate=true", "component_name=faithful"}, regexp.MustCompile(`mlp\.(gate|shared_expert_gate)\.`)},
		{[]string{"freeze_gate=true", "component_name=upstream"}, regexp.MustCompile(`gate`)},
		{[]string{"component_name=faithful"}, regexp.MustCompile(`^$`)},
	} {
		args := append(c.args, "train_type=dynamic_mix", "dataset=pool,other", "max_steps=2", "warmup_step=1", "update_step=1", "overwrite_output_dir=true",
			"learning_rate=1e-3", "lr_scheduler_type=constant", "warmup_ratio=0", "model_name_or_path="+f.dir+"/qwen")
		f.must(append(args, "finetuning_type=full")...)
		for name, was := range base {
			is := tensors(t, filepath.Join(f.dir, "out"))[name]
			if kept := slices.Equal(was, is); kept != c.keeps.MatchString(name) {
				t.Errorf("%v: %s kept: %v", c.args, name, kept)
			}
		}
		out := filepath.Join(f.dir, "lora")
		f.must(append(args, "output_dir="+out)...)
		for name := range weights(t, out) {
			if module := strings.TrimPrefix(name, "base_model.model."); c.keeps.MatchString(strings.Replace(module, ".lora_A.weight", ".", 1)) {
				t.Errorf("%v: the adapter has %s", c.args, name)
			}
		}
		a, err := checkpoint.ReadAdapterConfig(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := slices.Contains(a.Targets, "gate"), len(c.args) == 1; got != want {
			t.Errorf("%v: the adapter's targets are %v", c.args, a.Targets)
		}
	}
	// An adapter that trains the gates cannot be continued with frozen gates.
	err := f.run("freeze_gate=true", "model_name_or_path="+f.dir+"/qwen", "adapter_name_or_path="+filepath.Join(f.dir, "lora"), "output_dir="+f.dir+"/again")
	if err == nil || !strings.Contains(err.Error(), "freeze_gate") || !strings.Contains(err.Error(), "mlp.gate") {
		t.Errorf("an adapter on the gates: %v", err)
	}
}

// qwen writes a qwen2_moe of random weights, with a shared expert.
func (f *fixture) qwen(name string) {
	f.model(name, map[string]any{
		"architectures": []string{"Qwen2MoeForCausalLM"}, "model_type": "qwen2_moe", "num_experts": 3, "num_experts_per_tok": 2,
		"moe_intermediate_size": 8, "shared_expert_intermediate_size": 16, "decoder_sparse_step": 1, "norm_topk_prob": false,
	})
}

// tensors are the weights of a model folder.
func tensors(t *testing.T, dir string) map[string][]float32 {
	t.Helper()
	w, err := checkpoint.OpenWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	return read(t, w)
}

// read returns all tensors of w, which it closes.
func read(t *testing.T, w *checkpoint.Weights) map[string][]float32 {
	t.Helper()
	defer w.Close()
	out := map[string][]float32{}
	for _, name := range w.Names() {
		shape, _ := w.Shape(name)
		n := 1
		for _, d := range shape {
			n *= d
		}
		out[name] = make([]float32, n)
		if err := w.ReadFloat32(name, out[name]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestReferenceIsPlanned: the memory of DoReMi's reference model is part of the plan.
func TestReferenceIsPlanned(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "mixers:\n  it: {name: doremi, params: {reference_model_path: "+f.dir+"/experts}}\n")
	var plan bytes.Buffer
	c, err := config.Load(filepath.Join(f.dir, "run.yaml"), []string{"train_type=dynamic_mix", "component_name=it", "dataset=pool,other"})
	if err != nil {
		t.Fatal(err)
	}
	if err := train.Run(context.Background(), c, train.Options{DryRun: true, Out: &plan, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	size := 0
	for _, x := range tensors(t, filepath.Join(f.dir, "experts")) {
		size += 4 * len(x)
	}
	if want := fmt.Sprintf(", doremi itself %.1f KiB\n", float64(size)/1024); !strings.Contains(plan.String(), want) {
		t.Errorf("the plan does not say %q:\n%s", want, plan.String())
	}
}

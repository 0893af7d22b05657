package train_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// TestDifferencesAreSaid: where upstream loses work and a run in mode upstream does not, the
// plan and the log say so, with the numbers.
func TestDifferencesAreSaid(t *testing.T) {
	t.Parallel()
	f := small(t)
	f.write("components.yaml", "mixers:\n  upstream: {name: doremi, params: {mode: upstream, reference_model_path: "+f.dir+"/tiny}}\n  faithful: {name: doremi, params: {reference_model_path: "+f.dir+"/tiny}}\n"+
		"selectors:\n  upstream: {name: random, params: {mode: upstream}}\n  faithful: {name: random}\n")
	const divided, whole = "the gradient norm that it logs are 3 times these", "every 7 steps, where a pass over the whole data set would end, upstream's step has 3 of 7 micro-batches"
	mix := []string{"train_type=dynamic_mix", "dataset=pool,other", "warmup_step=1", "update_step=1"}
	choose := []string{"train_type=dynamic_select", "per_device_train_batch_size=1", "warmup_step=1", "update_step=1"}
	for _, c := range []struct {
		args []string
		want string // "" = nothing
	}{
		{append(slices.Clip(mix), "component_name=upstream", "per_device_train_batch_size=1", "gradient_accumulation_steps=3", "max_steps=2"), divided},
		{append(slices.Clip(mix), "component_name=faithful", "per_device_train_batch_size=1", "gradient_accumulation_steps=3", "max_steps=2"), ""},
		{append(slices.Clip(mix), "component_name=upstream", "gradient_accumulation_steps=1", "max_steps=2"), ""},
		// 45 = 6·7 + 3
		{append(slices.Clip(choose), "component_name=upstream", "max_samples=45", "gradient_accumulation_steps=7", "max_steps=8"), whole},
		{append(slices.Clip(choose), "component_name=upstream", "max_samples=45", "gradient_accumulation_steps=7", "max_steps=6"), ""},
		{append(slices.Clip(choose), "component_name=upstream", "max_samples=42", "gradient_accumulation_steps=7", "max_steps=8"), ""},
		{append(slices.Clip(choose), "component_name=faithful", "max_samples=45", "gradient_accumulation_steps=7", "max_steps=8"), ""},
	} {
		cfg, err := config.Load(filepath.Join(f.dir, "run.yaml"), c.args)
		if err != nil {
			t.Fatal(err)
		}
		var plan bytes.Buffer
		if err := train.Run(context.Background(), cfg, train.Options{Out: &plan, Log: slog.New(slog.DiscardHandler), DryRun: true}); err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(plan.String(), "upstream's step has") || strings.Contains(plan.String(), "upstream does not divide"); said != (c.want != "") || !strings.Contains(plan.String(), c.want) {
			t.Errorf("%v: wanted %q in\n%s", c.args, c.want, plan.String())
		}
	}
	// The log of a run contains the same.
	cfg, err := config.Load(filepath.Join(f.dir, "run.yaml"), append(slices.Clip(mix), "component_name=upstream", "per_device_train_batch_size=1", "gradient_accumulation_steps=3", "max_steps=2"))
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	if err := train.Run(context.Background(), cfg, train.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
		t.Fatal(err)
	}
	if strings.Count(log.String(), divided) != 1 {
		t.Errorf("the log does not say %q once:\n%s", divided, log.String())
	}
}

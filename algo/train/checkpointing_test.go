package train_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestGradientCheckpointing: a run whose layers are recomputed in the backward pass, with
// selections by gradients and dropout, trains the same adapter to the byte; plan and log
// both say how activations are treated.
func TestGradientCheckpointing(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	args := []string{"train_type=dynamic_select", "component_name=less", "lora_dropout=0.1", "max_steps=4"}
	adapter := func(name string, more ...string) []byte {
		f.must(append(append([]string{"output_dir=" + filepath.Join(f.dir, name)}, args...), more...)...)
		b, err := os.ReadFile(filepath.Join(f.dir, name, "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(adapter("kept"), adapter("again", "gradient_checkpointing=true")) {
		t.Error("layers that are computed again train another adapter")
	}
	for more, want := range map[string]string{
		"gradient_checkpointing=false": "kept", "disable_gradient_checkpointing=true": "kept",
		"gradient_checkpointing=true": "of one layer at a time, each computed again in the backward pass (gradient_checkpointing): kept, they take ",
	} {
		var plan bytes.Buffer
		if err := f.dryRun(&plan, more); err != nil {
			t.Fatal(err)
		}
		found := false
		for line := range strings.Lines(plan.String()) {
			key, rest, _ := strings.Cut(line, " ")
			found = found || key == "activations" && strings.HasPrefix(strings.TrimSpace(rest), want)
		}
		if !found {
			t.Errorf("%s: no %q in\n%s", more, want, plan.String())
		}
	}
}

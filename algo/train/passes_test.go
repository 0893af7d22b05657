package train_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestMergeTokens: micro-batches that share passes, some or all of a step, leave the same
// adapter to the byte, with dropout, noise, a method that asks for losses, and several ranks.
func TestMergeTokens(t *testing.T) {
	t.Parallel()
	f := small(t)
	m := method{"weighter", "loss", "faithful", "", []string{
		"train_type=dynamic_weight", "lora_dropout=0.1", "neftune_noise_alpha=5", "max_steps=3", "save_strategy=no",
		"per_device_train_batch_size=1", "gradient_accumulation_steps=4",
	}}
	for _, ranks := range []string{"1", "2"} {
		var first []byte
		for _, most := range []int{0, 40, 100000} {
			out := filepath.Join(f.dir, fmt.Sprintf("out-%s-%d", ranks, most))
			f.must(m.arguments(f, "output_dir="+out, "ranks="+ranks, fmt.Sprintf("merge_tokens=%d", most))...)
			b, err := os.ReadFile(filepath.Join(out, "adapter_model.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b
			}
			if !bytes.Equal(b, first) {
				t.Errorf("%s ranks, merge_tokens %d: another adapter", ranks, most)
			}
		}
	}
	var plan bytes.Buffer
	if err := f.dryRun(&plan, "merge_tokens=40", "gradient_accumulation_steps=4"); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(plan.Bytes(), []byte("up to 40 tokens together")) {
		t.Errorf("the plan says nothing of the passes:\n%s", &plan)
	}
}

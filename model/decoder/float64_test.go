package decoder

import (
	"strings"
	"testing"
)

// TestFloat64: in a gated delta rule gradients cancel, so that transformers' float32 has only
// three correct digits of some. These are compared with its float64
// (tools/golden/family_shapes.py OUT 12-12 qwen3_next).
func TestFloat64(t *testing.T) {
	const dir = "testdata/float64/qwen3_next"
	w, m := golden(t, dir, "golden.safetensors"), open(t, 2, dir)
	testFamily(t, w, m)
	compared := 0
	for _, p := range m.Trainable() {
		if !strings.HasSuffix(p.Name, ".A_log") && !strings.HasSuffix(p.Name, ".dt_bias") {
			continue
		}
		compared++
		want := laidGradient(t, w, "grad.", m, p)
		within(t, p.Name, p.Grad.Host(), want, 1e-5)
		if e := worst(laidGradient(t, w, "float32.grad.", m, p), want); e < 5e-4 {
			t.Errorf("%s: transformers' float32 is off by %.1e: the shape is not the one that cancels", p.Name, e)
		}
	}
	if compared != 2 {
		t.Errorf("%d gradients compared, want 2", compared)
	}
}

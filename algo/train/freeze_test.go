package train_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestFreezeNames: LLaMA-Factory trains parameters whose name contains one of its patterns,
// so that the extra module norm trains every layer's norms as well (recorded from 0.9.5 on
// the tiny qwen2: 812,000 parameters are trained, not 811,808).
func TestFreezeNames(t *testing.T) {
	t.Parallel()
	f := small(t)
	base := tensors(t, filepath.Join(f.dir, "tiny"))
	last := `\.1\.`
	for _, c := range []struct {
		args   []string
		trains *regexp.Regexp
	}{
		{nil, regexp.MustCompile(last)},
		{[]string{"freeze_extra_modules=norm"}, regexp.MustCompile(last + `|norm`)},
		{[]string{"freeze_trainable_layers=-1", "freeze_trainable_modules=mlp,input_layernorm"}, regexp.MustCompile(`\.0\.(mlp|input_layernorm)`)},
	} {
		f.must(append([]string{
			"finetuning_type=freeze", "freeze_trainable_layers=1", "train_type=static", "max_steps=1", "overwrite_output_dir=true",
			"learning_rate=1e-2", "lr_scheduler_type=constant", "warmup_ratio=0",
		}, c.args...)...)
		after := tensors(t, filepath.Join(f.dir, "out"))
		for name, was := range base {
			if changed := !slices.Equal(was, after[name]); changed != c.trains.MatchString(name) {
				t.Errorf("%v: %s trained: %v", c.args, name, changed)
			}
		}
	}
}

package train_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// stage is the configuration's line that asks for a stage.
func stage(n int) string {
	return "deepspeed={zero_optimization: {stage: " + string(rune('0'+n)) + "}}"
}

// TestNothingToShare: one process trains, and says once that it has nothing to share.
func TestNothingToShare(t *testing.T) {
	t.Parallel()
	f := small(t)
	out := "output_dir=" + filepath.Join(f.dir, "out")
	var said bytes.Buffer
	for _, err := range f.together(1, func(_ int, _ *config.Config, o *train.Options) context.Context {
		o.Log = slog.New(slog.NewTextHandler(&said, nil))
		return nil
	}, out, stage(3), "max_steps=1") {
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(said.String(), "there is nothing to share out"); n != 1 {
		t.Errorf("said %d times: %s", n, said.String())
	}
	f.mustTogether(1, "output_dir="+filepath.Join(f.dir, "plain"), "max_steps=1")
	if string(adapter(t, filepath.Join(f.dir, "out"))) != string(adapter(t, filepath.Join(f.dir, "plain"))) {
		t.Error("the stage changes what one process trains")
	}
	err := f.together(1, nil, "output_dir="+filepath.Join(f.dir, "rows"), "deepspeed={train_batch_size: 7}")[0]
	if err == nil || !strings.Contains(err.Error(), "train_batch_size is 7, and a step takes ") {
		t.Error(err)
	}
}

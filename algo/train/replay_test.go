package train_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestReplayAgrees: computing steps twice does not change the result, byte for byte.
func TestReplayAgrees(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"static":     {"lora_dropout=0.1"},
		"a weighter": {"lora_dropout=0.1", "train_type=dynamic_weight", "component_name=loss", "max_steps=5"},
	} {
		f := newFixture(t)
		f.write("components.yaml", "weighters:\n  loss:\n    name: loss\n    params: {strategy: linupper, delta: 1.0}\n")
		f.must(args...)
		want := adapter(t, filepath.Join(f.dir, "out"))
		f.must(append(args, "replay_every=2", "output_dir="+f.dir+"/again")...)
		if !bytes.Equal(adapter(t, filepath.Join(f.dir, "again")), want) {
			t.Errorf("%s: replay_every changes the weights", name)
		}
	}
}

// TestReplayFindsFault: a step that gives a different result when it is computed again stops
// the run before its weights change, and the error names tensor, step and the last good
// checkpoint. The difference is made by a weighter's program.
func TestReplayFindsFault(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("the program of this test is in sh: ", err)
	}
	f := newFixture(t)
	f.write("weigh.sh", `n=0; while read -r l; do n=$((n+1)); if [ $n = 3 ]; then echo '{"weights": [4,1,1,1]}'; else echo '{"weights": [1,1,1,1]}'; fi; done`)
	f.write("components.yaml", fmt.Sprintf("weighters:\n  custom:\n    name: custom\n    params: {command: [sh, %s/weigh.sh], timeout: 60, strategy: mine}\n", f.dir))
	err := f.run("train_type=dynamic_weight", "component_name=custom", "warmup_step=2", "replay_every=2", "save_steps=2")
	good := filepath.Join(f.dir, "out", "checkpoint-2")
	if err == nil || !strings.Contains(err.Error(), "step 4, computed twice, differs in the gradient of base_model.model.") || !strings.Contains(err.Error(), "the last good checkpoint is "+good) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, "out", "checkpoint-3")); err == nil {
		t.Error("what this machine computed wrongly was saved")
	}
}

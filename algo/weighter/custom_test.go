package weighter

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/algotest"
)

// script writes a shell program that gives the same answer to every line.
func script(t *testing.T, answer string) string {
	t.Helper()
	if _, err := exec.LookPath("sh"); err != nil {
		t.Skip("no sh here")
	}
	path := filepath.Join(t.TempDir(), "weigh.sh")
	if err := os.WriteFile(path, []byte("while read -r line; do echo \"$line\" >> \"$0.asked\"; echo '"+answer+"'; done\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCustom(t *testing.T) {
	run := &algo.Run{Log: algotest.Quiet, Train: rows(8, 1)}
	path := script(t, `{"weights":[1,3,0,4]}`)
	r := request(run.Train, someLoss, []int{7, 1}, []int{6, 2})
	w := mustBuild(t, run, "custom", "faithful", "command: [sh, "+path+"]", "timeout: 30", "strategy: mine")
	defer w.(algo.Finisher).Finish()
	got, how := weigh(t, w, r)
	if how != algo.TokenMean {
		t.Error("faithful keeps token normalisation")
	}
	algotest.Near(t, "faithful", flat(got), []float64{3. / 8, 9. / 8, 1, 12. / 8}, 1e-12)
	up := mustBuild(t, run, "custom", "upstream", "command: [sh, "+path+"]")
	defer up.(algo.Finisher).Finish()
	got, how = weigh(t, up, r)
	if how != algo.RowSum {
		t.Error("upstream sums rows")
	}
	algotest.Near(t, "upstream", flat(got), []float64{0.5, 1.5, 0, 2}, 1e-12)
	asked, err := os.ReadFile(path + ".asked")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"step":3,"total":12,"strategy":"mine","rows":[{"index":7,"dataset":"pool","row":7,"micro_batch":0,"labels":`
	if !strings.HasPrefix(string(asked), want) || !strings.Contains(string(asked), `"index":6,"dataset":"pool","row":6,"micro_batch":1,"labels":0,"loss":null}`) {
		t.Errorf("the program was asked %s", asked)
	}
}

// TestCustomWithoutProgram is upstream's example: a plain mean.
func TestCustomWithoutProgram(t *testing.T) {
	run := &algo.Run{Log: algotest.Quiet, Train: rows(8, 1)}
	r := request(run.Train, someLoss, []int{0, 1}, []int{2, 3, 4, 5})
	got, _ := weigh(t, mustBuild(t, run, "custom", "upstream", "strategy: uniform"), r)
	algotest.Near(t, "upstream", flat(got), []float64{0.25, 0.25, 0.125, 0.125, 0.125, 0.125}, 0)
	got, _ = weigh(t, mustBuild(t, run, "custom", "faithful"), r)
	algotest.Near(t, "faithful", flat(got), []float64{1, 1, 1, 1, 1, 1}, 0)
}

func TestCustomRefuses(t *testing.T) {
	run := &algo.Run{Log: algotest.Quiet, Train: rows(8, 1)}
	for _, c := range []struct{ answer, want string }{
		{`{"weights":[1]}`, "1 weights for 2 rows"},
		{`{"weights":[1,-1]}`, "is -1: a weight is a number >= 0"},
		{`{"weights":[0,0]}`, "are all 0"},
		{`sorry`, "not the JSON line expected"},
	} {
		w := mustBuild(t, run, "custom", "faithful", "command: [sh, "+script(t, c.answer)+"]")
		_, _, err := w.Weigh(t.Context(), request(run.Train, someLoss, []int{0, 1}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.answer, err)
		}
		if err := w.(algo.Finisher).Finish(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct{ param, want string }{
		{"timeout: 0", "must be positive"},
		{"strategy: loss_based", "only uniform is available"},
		{"comand: [a]", "did you mean command?"},
	} {
		if _, err := build(t, run, "custom", "faithful", c.param); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.param, err)
		}
	}
}

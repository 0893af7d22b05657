package train_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCustomProgram: a user's program selects rows by their losses; its mistakes are errors
// that describe them.
func TestCustomProgram(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("the user's program of this test is in Python: ", err)
	}
	for name, c := range map[string]struct{ answer, want string }{
		"picks":        {`{"indices": sorted(range(len(q["rows"])), key=lambda i: -q["losses"][i])[:q["num_samples"]]}`, ""},
		"too few":      {`{"indices": [1]}`, "1 indices for a window of 8"},
		"out of range": {`{"indices": [99] * q["num_samples"]}`, "index 99"},
		"no JSON":      {`undefined`, "NameError"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.write("pick.py", fmt.Sprintf("import json, sys\nfor line in sys.stdin:\n    q = json.loads(line)\n    print(json.dumps(%s), flush=True)\n", c.answer))
			f.write("components.yaml", fmt.Sprintf("selectors:\n  custom:\n    name: custom\n    params: {command: [%s, %s/pick.py], losses: true, cache_dir: %[2]s/cache}\n", python, f.dir))
			err := f.run("train_type=dynamic_select", "component_name=custom", "max_steps=-1", "num_train_epochs=1.0")
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v, wanted one that says %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(f.dir, "cache", "step_4.json")); err != nil {
				t.Error(err)
			}
		})
	}
}

package report

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"dataflex.dev/dataflex/data/pyjson"
)

// metric is a metric's values and steps, without times.
func metric(t *testing.T, m *MLflow, key string) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(read(t, m.dir, "metrics/"+key)) {
		f := strings.Fields(line)
		out = append(out, f[1]+" at "+f[2])
	}
	return strings.Join(out, ", ")
}

func TestMLflowFileStore(t *testing.T) {
	store, out := t.TempDir(), t.TempDir()
	t.Setenv("MLFLOW_EXPERIMENT_NAME", "")
	params := [][2]string{{"learning_rate", "0.001"}, {"dataset", strings.Repeat("a", 7000)}}
	m, err := OpenMLflow(store, "run: 1", out, params, true, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		m.Log(pyjson.Object{{Key: "loss", Value: 2.5}, {Key: "learning_rate", Value: 1e-05}, {Key: "step", Value: 2}, {Key: "n", Value: 3}}),
		m.Log(pyjson.Object{{Key: "loss", Value: math.NaN()}, {Key: "step", Value: 4}}),
		m.Scalar(4, "mixture/../../x", 1), m.Scalar(4, "mixture/数据 集", 0.5), m.Scalar(4, `a\b:c`, 1), m.Close(false),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for key, want := range map[string]string{"loss": "2.5 at 2, NaN at 4", "learning_rate": "1e-05 at 2", "n": "3 at 2", "mixture/___/___/x": "1 at 4", "mixture/数据 集": "0.5 at 4", "a_b_c": "1 at 4"} {
		if got := metric(t, m, key); got != want {
			t.Errorf("%s: %s, not %s", key, got, want)
		}
	}
	if got := read(t, m.dir, "params/learning_rate"); got != "0.001" {
		t.Errorf("learning_rate: %q", got)
	}
	if got := len(read(t, m.dir, "params/dataset")); got != 6000 {
		t.Errorf("a parameter of %d bytes", got)
	}
	meta := func(path string) (v map[string]any) {
		if err := yaml.Unmarshal([]byte(read(t, path, "meta.yaml")), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if e := meta(filepath.Dir(m.dir)); e["name"] != "Default" || e["experiment_id"] != "0" || e["lifecycle_stage"] != "active" {
		t.Errorf("experiment %v", e)
	}
	if r := meta(m.dir); r["run_id"] != filepath.Base(m.dir) || r["run_name"] != "run: 1" || r["status"] != mlflowFailed || r["experiment_id"] != "0" || r["artifact_uri"] != "file://"+m.dir+"/artifacts" {
		t.Errorf("run %v", r)
	}

	// The run is resumed from step 2: its values at step 4 are dropped.
	again, err := OpenMLflow(store, "run: 1", out, params, false, 2)
	if err != nil || again.dir != m.dir || metric(t, m, "loss") != "2.5 at 2" || again.meta.start != m.meta.start {
		t.Errorf("%+v, %v: %s", again, err, metric(t, m, "loss"))
	}
	if err := again.Close(true); err != nil || meta(m.dir)["status"] != mlflowFinished {
		t.Errorf("%v, %v", err, meta(m.dir))
	}

	t.Setenv("MLFLOW_EXPERIMENT_NAME", "über: a")
	for range 2 { // made once, then found
		if m, err = OpenMLflow(store, "x", out, nil, true, 0); err != nil {
			t.Fatal(err)
		}
	}
	experiments, err := os.ReadDir(store)
	if err != nil || len(experiments) != 2 || meta(filepath.Dir(m.dir))["name"] != "über: a" {
		t.Errorf("%v, %v", experiments, err)
	}
}

func TestMLflowStoreIsAFolder(t *testing.T) {
	for uri, want := range map[string]string{"": "mlruns", "file:///a/b": "/a/b", "runs": "runs"} {
		t.Setenv("MLFLOW_TRACKING_URI", uri)
		if got, err := MLflowStore(); got != want || err != nil {
			t.Errorf("%q: %q, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"http://localhost:5000", "sqlite:///x.db", "databricks"} {
		t.Setenv("MLFLOW_TRACKING_URI", uri)
		if _, err := MLflowStore(); err == nil || !strings.Contains(err.Error(), "training does not use the network") {
			t.Errorf("%q: %v", uri, err)
		}
	}
}

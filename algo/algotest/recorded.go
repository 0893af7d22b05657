package algotest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/cache"
)

// Golden is the folder of upstream's recorded runs, seen from the folder of a method's test.
const Golden = "../../../shared/golden"

// Trace reads the trace.json of a recorded run. The test is skipped where there are none.
func Trace[T any](t *testing.T, run string) (trace T) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(Golden, "runs", run, "trace.json"))
	if os.IsNotExist(err) {
		t.Skip("no recorded runs here")
	}
	if err == nil {
		err = json.Unmarshal(raw, &trace)
	}
	if err != nil {
		t.Fatal(err)
	}
	return trace
}

// RecordedRows returns the training rows of recorded data sets, tokenised.
func RecordedRows(t *testing.T, o cache.Options) []data.Example {
	t.Helper()
	o.DatasetDir, o.Seed, o.Dir = filepath.Join(Golden, "data"), 42, t.TempDir()
	d, err := cache.Load(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d.Train
}

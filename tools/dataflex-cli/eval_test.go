package main

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// TestEvalRopeScaling: positions are scaled as in training. The losses are those of
// transformers 4.52.4 on the demo's model, without rope_scaling and with linear, factor 2.
func TestEvalRopeScaling(t *testing.T) {
	t.Setenv("DATAFLEX_CACHE", t.TempDir())
	dir := checkFolder(t)
	write(t, filepath.Join(dir, "good.json"), `[{"instruction":"Name a colour and a number.","input":"","output":"red and seven"}]`)
	for _, c := range []struct {
		overrides []string
		want      float64
	}{
		{nil, 6.800364971},
		{[]string{"rope_scaling=linear", "cutoff_len=512"}, 7.460625172}, // the model has 256 positions
		{[]string{"rope_scaling=linear", "cutoff_len=64"}, 6.800364971},  // not needed
	} {
		out := filepath.Join(dir, "eval.json")
		if err := eval(context.Background(), filepath.Join(dir, "c.yaml"), c.overrides, evalOptions{device: "cpu", output: out}); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		var report evalReport
		if err := json.Unmarshal(text, &report); err != nil {
			t.Fatal(err)
		}
		if p := report.Perplexity["good"]; math.Abs(p.Loss-c.want) > 1e-5 {
			t.Errorf("%v: loss %v of %+v, want %v", c.overrides, p.Loss, p, c.want)
		}
	}
}

package tuning

import (
	"log/slog"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/decoder"

	"github.com/google/go-cmp/cmp"
)

// TestRopeScaling: the demo's model has 256 positions; they are scaled by integer factors, and
// unchanged where cutoff_len is within them.
func TestRopeScaling(t *testing.T) {
	for _, c := range []struct {
		kind   string
		cutoff int
		want   decoder.Options
	}{
		{"", 1000, decoder.Options{}},
		{"linear", 256, decoder.Options{}},
		{"linear", 257, decoder.Options{Rope: &rope.Scaling{Type: "linear", Factor: 2, OriginalMax: 256}, MaxPositions: 512}},
		{"dynamic", 1000, decoder.Options{Rope: &rope.Scaling{Type: "dynamic", Factor: 4, OriginalMax: 256}, MaxPositions: 1024}},
		{"llama3", 512, decoder.Options{Rope: &rope.Scaling{Type: "llama3", Factor: 2, OriginalMax: 256, LowFreqFactor: 1, HighFreqFactor: 4}, MaxPositions: 512}},
	} {
		cfg := &config.Config{Model: config.Model{NameOrPath: "../../tools/dataflex-demo/model", RopeScaling: c.kind}, Data: config.Data{CutoffLen: c.cutoff}}
		got, err := RopeScaling(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s, cutoff_len %d: %s", c.kind, c.cutoff, d)
		}
	}
}

// TestPissaName: PEFT's names, as LLaMA-Factory builds them.
func TestPissaName(t *testing.T) {
	for want, c := range map[string]config.Tuning{
		"":              {PiSSAIter: 16},
		"pissa":         {PiSSAInit: true, PiSSAIter: -1},
		"pissa_niter_4": {PiSSAInit: true, PiSSAIter: 4},
	} {
		if got := pissaName(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

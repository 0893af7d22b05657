package main

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
)

// TestStep: a step of the smallest model, its loss that of random weights, and every launch
// in some kernel's share.
func TestStep(t *testing.T) {
	out := filepath.Join(t.TempDir(), "k.json")
	var text strings.Builder
	if err := run(options{device: "sim", step: "tiny", tokens: "16", quick: true, vary: true, choose: true, json: out}, &text); err != nil {
		t.Fatalf("%v\n%s", err, text.String())
	}
	r := readReport(t, out)
	if len(r.Steps) != 1 {
		t.Fatalf("%+v", r.Steps)
	}
	s := r.Steps[0]
	launches, share := 0, 0.0
	for _, k := range s.Kernels {
		launches, share = launches+k.Launches, share+k.Share
	}
	if s.Check != good || s.Steps != 2 || s.Rate <= 0 || s.Launches != launches || launches < 50 || math.Abs(share-1) > 1e-9 || math.Abs(s.Loss-math.Log(300)) > 0.5 {
		t.Errorf("%+v", s)
	}
	if s.Peak == 0 || s.Planned == 0 || len(s.Select) != 1 || s.Select[0].Rate <= 0 || s.Select[0].Rows != 4 {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{"tiny, 8 to 16 tokens", "rows of 16 tokens a second", "gemm_bf16", "torch is not asked"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}

// TestStepErrors: a model that nobody knows, lengths that are none, and a pass that fails are
// said.
func TestStepErrors(t *testing.T) {
	for flags, want := range map[options]string{
		{device: "cpu", step: "gpt-9", tokens: "8"}:  "the models are llama3-8b",
		{device: "cpu", step: "tiny", tokens: "8,x"}: `"x" is no number of tokens`,
	} {
		if err := run(flags, new(strings.Builder)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// smaller is a device with that much memory.
type smaller struct {
	driver.Launcher
	memory uint64
}

func (d *smaller) Attributes() driver.Attributes {
	a := d.Launcher.Attributes()
	a.MemoryBytes = d.memory
	return a
}

// TestStepCheckpointed: where a step's activations do not fit, layers are computed again, and
// where that is too much, too, the step fails.
func TestStepCheckpointed(t *testing.T) {
	dir, err := writeConfig(t.TempDir(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	dev := &smaller{sim.New(sim.Options{}), 0}
	defer dev.Close()
	s := stepper{dev: dev, quick: true}
	if err := s.build(dir); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	r := StepRecord{Model: "tiny", Tokens: 24}
	if err := s.measure(&r); err != nil || r.Checkpointed || r.Check != good {
		t.Fatalf("%v, %+v", err, r)
	}
	dev.memory = r.Planned - 1
	if err := s.measure(&r); err != nil || !r.Checkpointed || r.Check != good || r.Planned > dev.memory || !strings.Contains(r.line(), "24 tokens, checkpointed") {
		t.Errorf("%v, %s", err, r.line())
	}
	dev.memory = r.Planned - 1
	if err := s.measure(&r); err == nil || !strings.Contains(err.Error(), "GiB are needed") {
		t.Errorf("%v", err)
	}
}

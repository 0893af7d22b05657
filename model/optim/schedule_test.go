package optim

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded is one schedule step by step: values[t] is the rate of step t.
type recorded struct {
	Name          string
	Kwargs        map[string]any
	Warmup, Total int
	LR            float64
	Values        []float64
}

func (r recorded) check(t *testing.T) {
	t.Helper()
	s, err := NewSchedule(r.Name, r.Kwargs, r.Warmup, r.Total, r.LR)
	if err != nil {
		t.Errorf("%s %v: %v", r.Name, r.Kwargs, err)
		return
	}
	for step, want := range r.Values {
		// 1e-18 is the rounding of a cosine near its zero, times the rate.
		if got := r.LR * s(step); !(math.Abs(got-want) <= 1e-15*want+1e-18) {
			t.Errorf("%s %v warmup %d of %d: step %d has %v, want %v", r.Name, r.Kwargs, r.Warmup, r.Total, step, got, want)
		}
	}
}

func TestSchedules(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range golden[[]recorded](t, "schedules") {
		r.check(t)
		seen[r.Name] = true
	}
	for name := range schedules {
		if !seen[name] {
			t.Errorf("%s has no reference values", name)
		}
	}
}

// The project's own recording, made with transformers 4.52.4, if available.
func TestSharedSchedules(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "golden", "streams", "lr_schedules.json"))
	if err != nil {
		t.Skip(err)
	}
	var all []recorded
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		r.check(t)
	}
}

func TestScheduleErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		args map[string]any
		lr   float64
		want string
	}{
		{"cosin", nil, 1, `"cosin" is unknown, known are: constant, constant_with_warmup, cosine,`},
		{PlateauName, nil, 1, "NewPlateau"},
		{"linear", map[string]any{"power": 2}, 1, `has "power", but this schedule takes none`},
		{"cosine", map[string]any{"num_cycle": 2}, 1, `has "num_cycle", known are: num_cycles`},
		{"cosine", map[string]any{"num_cycles": "two"}, 1, "num_cycles is two, want a number"},
		{"polynomial", map[string]any{"lr_end": 0.1}, 0.01, "lr_end 0.1 must be below learning_rate 0.01"},
		{"cosine_with_min_lr", nil, 1, "exactly one of min_lr and min_lr_rate"},
		{"cosine_with_min_lr", map[string]any{"min_lr": 0.1, "min_lr_rate": 0.1}, 1, "exactly one of"},
		{"warmup_stable_decay", map[string]any{"decay_type": "sqrt"}, 1, `decay_type is "sqrt", known are: 1-sqrt, cosine, linear`},
	} {
		if _, err := NewSchedule(c.name, c.args, 2, 10, c.lr); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: got %v, want %q", c.name, c.args, err, c.want)
		}
	}
	if _, err := NewSchedule("linear", nil, -1, 10, 1); err == nil {
		t.Error("negative warm-up accepted")
	}
}

// LLaMA-Factory's own defaults: of 20 steps after 5 of warm-up, 6 are stable and 14 decay;
// given values are kept.
func TestStableDecayDefaults(t *testing.T) {
	got := StableDecayDefaults(map[string]any{"min_lr_ratio": 0.1}, 5, 25)
	if got["num_stable_steps"] != 6 || got["num_decay_steps"] != 14 || got["min_lr_ratio"] != 0.1 {
		t.Errorf("got %v", got)
	}
	got = StableDecayDefaults(map[string]any{"num_decay_steps": 3}, 5, 25)
	if got["num_stable_steps"] != 6 || got["num_decay_steps"] != 3 {
		t.Errorf("got %v", got)
	}
	s, err := NewSchedule("warmup_stable_decay", nil, 5, 25, 1)
	if err != nil {
		t.Fatal(err)
	}
	for step, want := range map[int]float64{4: 0.8, 5: 1, 10: 1, 11: 1, 18: 0.5, 25: 0} {
		if got := s(step); math.Abs(got-want) > 1e-15 {
			t.Errorf("step %d: %v, want %v", step, got, want)
		}
	}
}

// torch 2.7.1's ReduceLROnPlateau; a null metric stands for NaN.
func TestPlateau(t *testing.T) {
	for _, r := range golden[[]struct {
		Kwargs  map[string]any
		LR      float64
		Metrics []*float64
		Values  []float64
	}](t, "plateau") {
		p, err := NewPlateau(r.Kwargs, r.LR)
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range r.Metrics {
			x := math.NaN()
			if m != nil {
				x = *m
			}
			p.Observe(x)
			if p.LR() != r.Values[i] {
				t.Errorf("%v: after evaluation %d the rate is %v, want %v", r.Kwargs, i, p.LR(), r.Values[i])
			}
			p = reload(t, p, r.Kwargs)
		}
	}
}

// reload serialises the state to JSON and back, as a checkpoint does.
func reload(t *testing.T, p *Plateau, args map[string]any) *Plateau {
	t.Helper()
	b, err := json.Marshal(p.State())
	if err != nil {
		t.Fatal(err)
	}
	var s PlateauState
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	again, err := NewPlateau(args, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.SetState(s); err != nil {
		t.Fatal(err)
	}
	return again
}

func TestPlateauErrors(t *testing.T) {
	for want, args := range map[string]map[string]any{
		"factor is 1.5":                {"factor": 1.5},
		`mode is "up"`:                 {"mode": "up"},
		`has "verbose", known are`:     {"verbose": true},
		"patience is x, want a number": {"patience": "x"},
	} {
		if _, err := NewPlateau(args, 1); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
	p, err := NewPlateau(nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.SetState(PlateauState{LR: math.NaN()}); err == nil {
		t.Error("NaN rate accepted")
	}
}

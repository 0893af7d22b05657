package curriculum

import (
	"fmt"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/config"
)

// TestSchedule: the steps of every train_type, by the formulas of upstream's loops
// (spec/clarifications.md, "Schedule"), over 48 rows in steps of 4, which are 12 a pass.
func TestSchedule(t *testing.T) {
	dynamic := func(kind string, warmup, update, times int) config.Dynamic {
		return config.Dynamic{TrainType: kind, WarmupStep: warmup, UpdateStep: update, UpdateTimes: times}
	}
	mixes := dynamic(config.DynamicMix, 2, 3, 2)
	mixes.StaticMix = true
	steps := dynamic(config.DynamicSelect, 2, 3, 2)
	steps.TrainStep = 7
	for _, c := range []struct {
		name    string
		dynamic config.Dynamic
		epochs  float64
		max     int
		total   int
		opens   string // Draw as d, a choice by its number, before each step
	}{
		{"static", config.Dynamic{TrainType: config.Static}, 1.2, 0, 15, "..............."},
		{"static, max_steps", config.Dynamic{TrainType: config.Static}, 3, 5, 5, "....."},
		{"weight", dynamic(config.DynamicWeight, 3, 0, 0), 0.5, 0, 6, "......"},
		{"select", dynamic(config.DynamicSelect, 2, 3, 2), 1.5, 0, 12, "d.1..2..d.1."},
		{"select, open", dynamic(config.DynamicSelect, 2, 3, -1), 0.5, 0, 6, "d.1..2"},
		{"select, train_step", steps, 9, 5, 7, "d.1..2."},
		{"mix", dynamic(config.DynamicMix, 1, 2, 2), 3, 0, 5, "d1.2."},
		{"mix, open", dynamic(config.DynamicMix, 1, 4, -1), 0.5, 0, 6, "d1...2"},
		{"mix, static", mixes, 0.5, 0, 6, "d....."},
	} {
		cfg := &config.Config{Dynamic: c.dynamic}
		cfg.Training.NumTrainEpochs, cfg.Training.MaxSteps = c.epochs, c.max
		s, err := NewSchedule(cfg, 48, 4, 12)
		if err != nil {
			t.Fatal(err)
		}
		var opens strings.Builder
		choices := 0
		for step := range s.Total {
			switch o, update := s.Opening(step); o {
			case Continue:
				opens.WriteByte('.')
			case Draw:
				opens.WriteByte('d')
			case Choose:
				choices++
				fmt.Fprint(&opens, update)
			}
		}
		if s.Total != c.total || opens.String() != c.opens || s.Choices() != choices {
			t.Errorf("%s: %d steps, %s, %d choices; want %d, %s, %d", c.name, s.Total, opens.String(), s.Choices(), c.total, c.opens, choices)
		}
	}
}

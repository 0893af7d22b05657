package optim

import (
	"fmt"
	"math"
)

// Plateau is reduce_lr_on_plateau: torch's ReduceLROnPlateau. It lowers the
// learning rate when a metric has not improved for more than patience
// evaluations.
type Plateau struct {
	max, absolute                     bool // max: larger metrics are better; absolute: threshold is a difference
	factor, threshold, minLR, epsilon float64
	patience, cooldown                int
	state                             PlateauState
}

// PlateauState is the state of a Plateau in a checkpoint.
type PlateauState struct {
	LR        float64  `json:"lr"`        // the current learning rate
	Best      *float64 `json:"best"`      // the best metric, nil before the first
	Bad       int      `json:"bad"`       // evaluations without improvement
	CoolingBy int      `json:"coolingBy"` // remaining evaluations of cool-down
}

// NewPlateau starts at learning rate lr. args are lr_scheduler_kwargs: mode, factor, patience,
// threshold, threshold_mode, cooldown, min_lr, eps. Like transformers it ignores
// greater_is_better: the default of mode is min.
func NewPlateau(args map[string]any, lr float64) (*Plateau, error) {
	k := &kwargs{owner: "lr_scheduler_type " + PlateauName, values: args}
	k.only([]string{"mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"})
	p := &Plateau{
		max:       choice(k, "mode", "min", map[string]bool{"min": false, "max": true}),
		absolute:  choice(k, "threshold_mode", "rel", map[string]bool{"rel": false, "abs": true}),
		factor:    k.float("factor", 0.1),
		patience:  int(k.float("patience", 10)),
		threshold: k.float("threshold", 1e-4),
		cooldown:  int(k.float("cooldown", 0)),
		minLR:     k.float("min_lr", 0),
		epsilon:   k.float("eps", 1e-8),
		state:     PlateauState{LR: lr},
	}
	if p.factor >= 1 {
		k.fail("lr_scheduler_kwargs: factor is %v, want less than 1", p.factor)
	}
	return p, k.err
}

// LR is the learning rate of the next optimizer step.
func (p *Plateau) LR() float64 { return p.state.LR }

// Observe takes the metric of an evaluation. NaN is not an improvement.
func (p *Plateau) Observe(metric float64) {
	s := &p.state
	if p.better(metric) {
		s.Best, s.Bad = &metric, 0
	} else {
		s.Bad++
	}
	if s.CoolingBy > 0 {
		s.CoolingBy--
		s.Bad = 0
	}
	if s.Bad > p.patience {
		if lower := math.Max(s.LR*p.factor, p.minLR); s.LR-lower > p.epsilon {
			s.LR = lower
		}
		s.CoolingBy, s.Bad = p.cooldown, 0
	}
}

func (p *Plateau) better(metric float64) bool {
	if p.state.Best == nil { // torch starts from the worst infinity
		worst := 1
		if p.max {
			worst = -1
		}
		return !math.IsNaN(metric) && !math.IsInf(metric, worst)
	}
	best := *p.state.Best
	switch {
	case !p.max && !p.absolute:
		return metric < best*(1-p.threshold)
	case !p.max:
		return metric < best-p.threshold
	case !p.absolute:
		return metric > best*(1+p.threshold)
	}
	return metric > best+p.threshold
}

// State returns the state of the schedule.
func (p *Plateau) State() PlateauState { return p.state }

// SetState restores a State.
func (p *Plateau) SetState(s PlateauState) error {
	if !(s.LR >= 0) || s.Bad < 0 || s.CoolingBy < 0 {
		return fmt.Errorf("%s: state %+v is not one of its own", PlateauName, s)
	}
	p.state = s
	return nil
}

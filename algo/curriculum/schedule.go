package curriculum

import (
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

// Schedule is a run's number of steps and when its windows open. It is fixed before the run
// starts.
type Schedule struct {
	Total   int // optimizer steps
	PerStep int // rows per step

	// Only for a run that trains on windows; zero for a run over the whole data set.
	Dynamic bool
	Warmup  int  // steps before the first decision of a Flex epoch, or before rows are weighted
	Update  int  // steps for which a decision holds
	Updates int  // decisions per Flex epoch; 0 = one every Update steps to the end
	Static  bool // the first window is the whole run
	Mix     bool // windows are drawn by proportions
	Ordered bool // windows are served in the given order
	Pass    int  // steps of a pass over all rows
}

// NewSchedule returns the schedule of a run over that many rows, with PerStep rows per step and
// perEpoch steps per pass.
func NewSchedule(c *config.Config, rows, perStep, perEpoch int) (Schedule, error) {
	s := Schedule{PerStep: perStep, Pass: perEpoch}
	epochs, steps := c.Training.NumTrainEpochs, c.Training.MaxSteps
	if d := c.Dynamic; d.TrainType != config.Static && d.TrainStep > 0 {
		steps = d.TrainStep
	}
	var open float64 // number of steps where it is not given
	var err error
	switch c.Dynamic.TrainType {
	case config.DynamicSelect:
		err = s.selects(c, rows)
		open = s.flex(epochs, rows)
	case config.DynamicMix:
		open = s.mixes(c, rows)
	case config.DynamicReorder:
		open, err = s.orders(c)
	case config.DynamicLego:
		s.Dynamic, s.Warmup, s.Update, s.Updates = true, c.Dynamic.WarmupStep, c.Dynamic.UpdateStep, max(0, c.Dynamic.UpdateTimes)
		open = s.flex(epochs, rows)
	case config.DynamicWeight:
		s.Warmup = c.Dynamic.WarmupStep
		fallthrough
	default:
		open = math.Ceil(epochs * float64(perEpoch))
	}
	if s.Total = steps; steps <= 0 {
		s.Total = int(open)
	}
	return s, err
}

// flex returns the number of steps of that many Flex epochs, or of passes over the rows if
// decisions continue to the end.
func (s *Schedule) flex(epochs float64, rows int) float64 {
	if s.Updates > 0 {
		return math.Ceil(epochs * float64(s.stage()))
	}
	return math.Ceil(epochs * math.Ceil(float64(rows)/float64(s.PerStep)))
}

// selects sets the schedule of dynamic_select. A window larger than the pool is an error.
func (s *Schedule) selects(c *config.Config, rows int) error {
	s.Dynamic, s.Warmup, s.Update, s.Updates = true, c.Dynamic.WarmupStep, c.Dynamic.UpdateStep, max(0, c.Dynamic.UpdateTimes)
	for _, w := range []struct {
		key   string
		steps int
	}{{"warmup_step", s.Warmup}, {"update_step", s.Update}} {
		if n := w.steps * s.PerStep; n > rows {
			return c.Errorf(w.key, "%d steps of %d rows need %d rows, the training set has %d: lower %s, per_device_train_batch_size or gradient_accumulation_steps",
				w.steps, s.PerStep, n, rows, w.key)
		}
	}
	return nil
}

// mixes sets the schedule of dynamic_mix: a warm-up in the run's own proportions, then
// update_times windows, or one pass over the data if update_times is not given.
func (s *Schedule) mixes(c *config.Config, rows int) (open float64) {
	d := c.Dynamic
	s.Dynamic, s.Mix, s.Static, s.Warmup, s.Update = true, true, d.StaticMix, d.WarmupStep, d.UpdateStep
	if d.StaticMix || d.UpdateTimes < 0 {
		return float64(max(1, rows/s.PerStep)) * c.Training.NumTrainEpochs
	}
	return float64(d.WarmupStep + d.UpdateStep*d.UpdateTimes)
}

// orders is the schedule of dynamic_reorder: one pass, unless the run gives the number of
// passes (num_train_epochs) or the length of a stage (update_times). Upstream's stages always
// have a fixed length.
func (s *Schedule) orders(c *config.Config) (open float64, err error) {
	component, err := c.Component()
	if err != nil {
		return 0, err
	}
	d, epochs := c.Dynamic, 1.0
	upstream := algo.Mode(component.Mode) == algo.Upstream
	if upstream || c.Given("num_train_epochs") {
		epochs = c.Training.NumTrainEpochs
	}
	s.Dynamic, s.Ordered, s.Warmup, s.Update = true, true, d.WarmupStep, d.UpdateStep
	if s.Update == 0 {
		s.Update = s.Pass
	}
	if s.Updates = max(0, d.UpdateTimes); !upstream && !c.Given("update_times") {
		s.Updates = 0
	}
	if s.Updates > 0 {
		open = math.Ceil(epochs * float64(s.stage()))
	} else {
		open = math.Ceil(epochs * float64(s.Pass))
	}
	if !upstream { // a stage only determines the number of steps, and nothing restarts with it
		s.Updates = 0
		if component.Params.String("kind", "static") == "static" {
			s.Warmup, s.Update = 0, s.Pass
		}
	}
	return open, nil
}

// First returns the number of steps of the first window of a mixture.
func (s Schedule) First() int {
	if s.Static {
		return s.Total
	}
	return s.Warmup
}

// stage returns the length of a Flex epoch in steps; 0 for a run without end.
func (s Schedule) stage() int {
	if s.Updates == 0 {
		return 0
	}
	return s.Warmup + s.Update*s.Updates
}

// Opening says what happens before a step.
type Opening uint8

const (
	Continue Opening = iota // the current window continues
	Draw                    // a warm-up draw, at the start of a Flex epoch
	Choose                  // the selector, or the mixer, decides on the next window
)

// Opening returns what happens before step (counted from 0) and, for Choose, the number of the
// decision in its Flex epoch: 1, 2, ….
func (s Schedule) Opening(step int) (o Opening, update int) {
	if !s.Dynamic {
		return Continue, 0
	}
	t := step
	if n := s.stage(); n > 0 {
		t = step % n
	}
	switch {
	case t == 0 && (s.Warmup > 0 || s.Static):
		return Draw, 0
	case s.Static:
		return Continue, 0
	case t >= s.Warmup && (t-s.Warmup)%s.Update == 0:
		return Choose, (t-s.Warmup)/s.Update + 1
	}
	return Continue, 0
}

// Choices returns the number of decisions in the run.
func (s Schedule) Choices() int {
	n := 0
	for step := range s.Total {
		if o, _ := s.Opening(step); o == Choose {
			n++
		}
	}
	return n
}

// FlexEpoch returns the Flex epoch of a step.
func (s Schedule) FlexEpoch(step int) int {
	if n := s.stage(); n > 0 {
		return step / n
	}
	return 0
}

package curriculum

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/reorder"
)

// ordered is dynamic_reorder: rows in the order of a pattern of their scores.
type ordered struct {
	method
	run   Run
	order *reorder.Orderer

	next    int             // the step at which the next window opens; not in mode upstream
	windows int             // opened so far
	kept    json.RawMessage // the state, which changes only with a new window
}

func newOrdered(r Run, component *config.Component) (*ordered, error) {
	order, err := checkedOrder(r.Config, r.Run, component, r.Column)
	if err != nil {
		return nil, err
	}
	smooths := r.Config.Training.LabelSmoothingFactor > 0
	o := &ordered{method: method{component: component, smooths: smooths}, run: r, order: order}
	return o, o.wholePasses()
}

// CheckOrder returns what is wrong with a component of dynamic_reorder, or with the
// configuration it is used in, before any row is read.
func CheckOrder(c *config.Config, run *algo.Run, component *config.Component) error {
	_, err := checkedOrder(c, run, component, nil)
	return err
}

// checkedOrder builds the orderer, or returns an error for settings that would destroy the
// order.
func checkedOrder(c *config.Config, run *algo.Run, component *config.Component, column reorder.Column) (*reorder.Orderer, error) {
	order, err := reorder.New(run, component, column)
	switch {
	case err != nil:
		return nil, err
	case c.Training.GroupByLength:
		return nil, c.Errorf("group_by_length", "train_type dynamic_reorder already orders the rows, by their scores: remove it")
	case order.ByRow() && packs(c):
		return nil, c.Errorf("packing", "a packed row would hold rows of different scores, and has no place in the order: set packing: false, or score_source: model_loss")
	case c.Training.DataloaderDropLast && algo.Mode(component.Mode) != algo.Upstream:
		return nil, c.Errorf("dataloader_drop_last", "the last rows of the order are part of it: remove it")
	}
	return order, nil
}

// packs reports whether rows are packed, which pre-training does by default.
func packs(c *config.Config) bool {
	if p := c.Data.Packing; p != nil {
		return *p
	}
	return c.Data.NeatPacking || c.Tuning.Stage == config.StagePT
}

// wholePasses returns an error if the run would end in the middle of a pass over the order,
// because an order is only meaningful over whole passes. A run whose number of steps is given
// explicitly is accepted.
func (o *ordered) wholePasses() error {
	s, c := o.run.Schedule, o.run.Config
	if s.Total%s.Pass == 0 || c.Dynamic.TrainStep > 0 || c.Training.MaxSteps > 0 {
		return nil
	}
	key, says := "num_train_epochs", fmt.Sprintf("the run has %d steps, and a pass over the %d rows takes %d: the pass would end early", s.Total, len(o.run.Train), s.Pass)
	if c.Given("update_times") {
		key = "update_times"
	}
	if o.upstream() {
		o.run.Log.Warn(says)
		return nil
	}
	return c.Errorf(key, "%s; leave update_times out for whole passes (num_train_epochs says how many), or set max_steps to stop there on purpose", says)
}

// Open returns the next rows of the order.
func (o *ordered) Open(ctx context.Context, step int) (Window, bool, error) {
	steps, warmup := o.due(step)
	if steps == 0 {
		return Window{}, false, nil
	}
	started := time.Now()
	defer o.run.Journal.Phase("selecting")()
	o.kept = nil
	rows, err := o.rows(ctx, step, steps, warmup)
	if err != nil {
		return Window{}, false, fmt.Errorf("order at step %d: %w", step, err)
	}
	per := o.run.Schedule.PerStep
	o.next = step + (len(rows)+per-1)/per
	w := Window{Start: step, Rows: rows, Ordered: true}
	if warmup && o.order.Dynamic() {
		return w, true, nil
	}
	o.windows++
	sel := algo.Selection{Indices: rows, Ordered: true}
	sel.Score, sel.Scored = o.order.Latest()
	r := algo.Request{Step: step, Update: o.windows, N: len(rows)}
	return w, true, o.run.Journal.Selected(r, sel, time.Since(started).Seconds(), false)
}

// due returns the number of steps of the window that opens at this step; 0 if none does.
func (o *ordered) due(step int) (steps int, warmup bool) {
	s := o.run.Schedule
	if !o.upstream() && step != o.next {
		return 0, false
	}
	opening, _ := s.Opening(step)
	switch {
	case opening == Draw:
		return s.Warmup, true
	case opening == Choose || !o.upstream():
		return s.Update, false
	}
	return 0, false
}

// rows returns the rows for that many steps. In mode upstream a static order repeats without
// end; otherwise a window ends with the pass, so that every row occurs once per pass.
func (o *ordered) rows(ctx context.Context, step, steps int, warmup bool) ([]int, error) {
	n := steps * o.run.Schedule.PerStep
	switch {
	case !o.order.Dynamic():
		all, err := o.order.Static(ctx)
		if err != nil || !o.upstream() {
			return all, err
		}
		out := make([]int, n)
		for i := range out {
			out[i] = all[(step*o.run.Schedule.PerStep+i)%len(all)]
		}
		return out, nil
	case !o.upstream():
		n = min(n, o.order.Left())
	}
	switch {
	case warmup && o.upstream() && o.order.Left() > 0:
		return o.order.WarmupLeft(n) // a window of the rows that are left, trained on again and again
	case warmup:
		return o.order.Warmup(n)
	}
	return o.order.Next(ctx, step, n)
}

// Weights leaves the loss unweighted.
func (o *ordered) Weights(context.Context, *Step) (Weights, error) {
	return Weights{How: o.reduction(algo.TokenMean)}, nil
}

// Observe does nothing.
func (o *ordered) Observe(context.Context, *Step) error { return nil }

// orderedState is the content of State.
type orderedState struct {
	Order   json.RawMessage `json:"order"`
	Next    int             `json:"next"`
	Windows int             `json:"windows"`
}

// State is the order and the position in it.
func (o *ordered) State() (json.RawMessage, error) {
	if o.kept != nil {
		return o.kept, nil
	}
	order, err := o.order.State()
	if err != nil {
		return nil, fmt.Errorf("state of %s: %w", o.component.Name, err)
	}
	o.kept, err = json.Marshal(orderedState{order, o.next, o.windows})
	return o.kept, err
}

// Restore restores State.
func (o *ordered) Restore(raw json.RawMessage) error {
	var s orderedState
	if raw != nil {
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("state of %s: %w", o.component.Name, err)
		}
	}
	if err := o.order.Restore(s.Order); err != nil {
		return fmt.Errorf("state of %s: %w", o.component.Name, err)
	}
	o.kept, o.next, o.windows = nil, s.Next, s.Windows
	return nil
}

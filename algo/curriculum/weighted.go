package curriculum

import (
	"context"
	"encoding/json"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

// weighted is dynamic_weight: the whole data set, whose rows are weighed by a Weighter after
// the warm-up.
type weighted struct {
	method
	run      Run
	weighter algo.Weighter
}

func newWeighted(ctx context.Context, r Run, component *config.Component) (*weighted, error) {
	w, err := algo.BuildWeighter(r.Run, component)
	if err != nil {
		return nil, err
	}
	out := &weighted{method: method{any: w, component: component}, run: r, weighter: w}
	return out, out.prepare(ctx, r)
}

// Open opens no windows.
func (w *weighted) Open(context.Context, int) (Window, bool, error) { return Window{}, false, nil }

// Weights calls the weighter with the loss of every row of the step.
func (w *weighted) Weights(ctx context.Context, s *Step) (Weights, error) {
	if s.Index < w.run.Schedule.Warmup {
		return Weights{How: w.reduction(algo.TokenMean)}, nil
	}
	rows, loss, how, err := weigh(ctx, w.weighter, w.component.Name, s)
	if err != nil {
		return Weights{}, err
	}
	w.run.Journal.Weighed(s.Index+1, s.Micros, rows, loss)
	return Weights{Rows: rows, How: w.reduction(how), Plain: w.upstream()}, nil
}

// Observe passes the step to a weighter that observes.
func (w *weighted) Observe(ctx context.Context, s *Step) error {
	return w.observe(ctx, s, reports(s, nil))
}

// State is the weighter's state.
func (w *weighted) State() (json.RawMessage, error) { return w.state() }

// Restore restores State.
func (w *weighted) Restore(raw json.RawMessage) error { return w.restore(raw) }

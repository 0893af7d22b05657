// Package curriculum decides what a run trains on, as the training loop sees it: one contract
// for every train_type. The contracts of the methods themselves are in package algo.
package curriculum

import (
	"context"
	"encoding/json"
	"log/slog"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/reorder"
	"dataflex.dev/dataflex/data"
)

// Curriculum decides the rows of every step and their weights. For each optimizer step 0, 1, …
// the loop calls, in this order, Open, Weights, and after the update Observe. Weights may be
// called again for a step, with fewer rows: it then starts from the state at the beginning of
// the step.
type Curriculum interface {
	// Open returns the window that begins with the step; opened is false where the current one
	// continues.
	Open(ctx context.Context, step int) (w Window, opened bool, err error)
	// Weights weighs the rows of a step.
	Weights(ctx context.Context, s *Step) (Weights, error)
	// Observe receives the results of the step.
	Observe(ctx context.Context, s *Step) error

	// State is everything that a checkpoint must contain for the run to resume bit for bit: the
	// method's own state, random streams, loss weights. It is called before every step.
	State() (json.RawMessage, error)
	// Restore restores State; nil is the initial state.
	Restore(json.RawMessage) error
	// Identity identifies the method and its effective parameters by content, including the
	// files that they name; "" for none.
	Identity() (string, error)
	// Memory is the number of bytes it holds on the device for the whole run.
	Memory() uint64
	// Cost is the cost of a selection; ok is false where there are none or it is unknown.
	Cost() (cost algo.Cost, ok bool)
	// Finish writes its files to output_dir when training is over.
	Finish() error
}

// Window is the rows being trained on: the whole data set, or the rows given by a warm-up draw,
// a selection, a mixture or an order. The loop shuffles them by the run's seed, unless they are
// Ordered.
type Window struct {
	Start   int   `json:"start"`             // the step it opened at; -1 before the first
	Rows    []int `json:"rows,omitempty"`    // nil: the whole data set, pass after pass
	Ordered bool  `json:"ordered,omitempty"` // served in the given order
}

// Step is an optimizer step: its micro-batches and, once they are known, their losses.
type Step struct {
	Index  int // steps done before it
	Total  int // planned
	Micros []batch.Micro
	Ranks  []int // per micro-batch: the logical rank that computes it

	// Loss is the mean loss of every row's tokens under the weights before the update, per
	// micro-batch; NaN for a row without a target. It takes one pass, at the first call.
	Loss func(ctx context.Context) ([][]float64, error)

	// Only for Observe.
	TokenLoss [][]float32 // per micro-batch and token, before any weight
	Returned  []float64   // per micro-batch: its share of the step's loss
}

// Weights are factors of the rows' losses.
type Weights struct {
	Rows [][]float64 // per micro-batch and row; nil = 1 everywhere. Under algo.TokenMean their mean over the step is 1
	How  algo.Reduction
	// Plain switches label_smoothing_factor off: upstream's weighters compute their own losses.
	Plain bool
}

// Journal records what a curriculum decides.
type Journal interface {
	// Phase starts timing a phase, which the function it returns ends.
	Phase(name string) func()
	Selected(r algo.Request, sel algo.Selection, seconds float64, reused bool) error
	Mixed(step, update int, domains []algo.Domain, shares, lossWeights []float64, seconds float64) error
	Weighed(step int, micros []batch.Micro, weights, loss [][]float64)
	Trained(micros []algo.MicroReport)
}

// Run is the run for which a curriculum is made.
type Run struct {
	*algo.Run
	Config    *config.Config
	Schedule  Schedule
	Domains   []algo.Domain             // of dynamic_mix and dynamic_lego
	MixerEval map[string][]data.Example // mixer_eval_dataset by domain
	Journal   Journal
	Log       *slog.Logger

	// Key identifies by content everything that a choice can depend on.
	Key func(r algo.Request) (string, error)
	// Ask sets Run.Questions for a method of that name.
	Ask func(ctx context.Context, method string) error
	// Column re-reads a column of the training data from its files.
	Column reorder.Column
}

// New makes the curriculum that train_type and component_name specify, and returns the
// component, nil where there is none.
func New(ctx context.Context, r Run) (Curriculum, *config.Component, error) {
	c := r.Config
	kind := c.Dynamic.TrainType
	if kind == config.Static {
		return static{}, nil, nil
	}
	if kind == config.DynamicMix && c.Dynamic.StaticMix {
		m, err := newMixed(ctx, r, nil)
		return m, nil, err
	}
	component, err := c.Component()
	if err != nil {
		return nil, nil, err
	}
	for _, note := range component.Notes {
		r.Log.Warn(note)
	}
	r.Log.Info("component", "name", component.Name, "mode", component.Mode, "params", component.Raw)
	var cur Curriculum
	switch kind {
	case config.DynamicSelect:
		cur, err = newSelected(ctx, r, component)
	case config.DynamicMix:
		cur, err = newMixed(ctx, r, component)
	case config.DynamicWeight:
		cur, err = newWeighted(ctx, r, component)
	case config.DynamicReorder:
		cur, err = newOrdered(r, component)
	case config.DynamicLego:
		cur, err = newPipeline(ctx, r, component)
	}
	return cur, component, err
}

// static is a run without decisions: the whole data set, pass after pass.
type static struct{}

func (static) Open(context.Context, int) (Window, bool, error) { return Window{}, false, nil }
func (static) Weights(context.Context, *Step) (Weights, error) { return Weights{}, nil }
func (static) Observe(context.Context, *Step) error            { return nil }
func (static) State() (json.RawMessage, error)                 { return nil, nil }
func (static) Restore(json.RawMessage) error                   { return nil }
func (static) Identity() (string, error)                       { return "", nil }
func (static) Memory() uint64                                  { return 0 }
func (static) Cost() (cost algo.Cost, ok bool)                 { return algo.Cost{}, false }
func (static) Finish() error                                   { return nil }

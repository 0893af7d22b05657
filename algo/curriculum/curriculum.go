// Package curriculum is what decides what a run trains on, as the training loop sees
// it: one contract for every train_type. What the methods themselves promise stands in
// algo.
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

// Curriculum decides the rows of every step and their weights. The loop asks it in this
// order for each optimizer step 0, 1, …: Open, Weights, and after the update Observe.
// Weights may be asked again for a step, with fewer rows: it then starts from where the
// step began.
type Curriculum interface {
	// Open gives the window that the step begins with; opened is false where the current
	// one goes on.
	Open(ctx context.Context, step int) (w Window, opened bool, err error)
	// Weights weighs the rows of a step.
	Weights(ctx context.Context, s *Step) (Weights, error)
	// Observe is told how the step fared.
	Observe(ctx context.Context, s *Step) error

	// State is all that a checkpoint must hold for the run to go on bit for bit: the
	// method's own state, random streams, loss weights. It is asked before every step.
	State() (json.RawMessage, error)
	// Restore takes State back; nil is the state of the beginning.
	Restore(json.RawMessage) error
	// Identity names the method and its settled parameters by content, files that they
	// name included; "" for none.
	Identity() (string, error)
	// Memory is the bytes it holds on the device from start to end.
	Memory() uint64
	// Finish leaves its files in output_dir when training is over.
	Finish() error
}

// Window is the rows being trained on: the whole data set, or what a warm-up draw, a
// selection, a mixture or an order gave. The loop deals them out in an order of the run's
// seed, unless they are Ordered.
type Window struct {
	Start   int   `json:"start"`             // the step it opened at; -1 before the first
	Rows    []int `json:"rows,omitempty"`    // nil: the whole data set, pass after pass
	Ordered bool  `json:"ordered,omitempty"` // dealt out as they stand
}

// Step is an optimizer step: its micro-batches and, once they are known, their losses.
type Step struct {
	Index  int // steps done before it
	Total  int // planned
	Micros []batch.Micro
	Ranks  []int // per micro-batch: the logical rank that takes it

	// Loss is the mean loss of every row's tokens under the weights before the update,
	// per micro-batch; NaN for a row without a target. It is one pass, made when it is
	// first asked for.
	Loss func(ctx context.Context) ([][]float64, error)

	// Of Observe alone.
	TokenLoss [][]float32 // per micro-batch and token, before any weight
	Returned  []float64   // per micro-batch: its share of the step's loss
}

// Weights are factors of the rows' losses.
type Weights struct {
	Rows [][]float64 // per micro-batch and row; nil = 1 everywhere. Under algo.TokenMean their mean over the step is 1
	How  algo.Reduction
	// Plain leaves label_smoothing_factor out: upstream's weighters take losses of their own.
	Plain bool
}

// Journal is told what a curriculum decides.
type Journal interface {
	// Phase times what is done until the function it returns is called.
	Phase(name string) func()
	Selected(r algo.Request, sel algo.Selection, seconds float64, reused bool) error
	Mixed(step, update int, domains []algo.Domain, shares, lossWeights []float64, seconds float64) error
	Weighed(step int, micros []batch.Micro, weights, loss [][]float64)
	Trained(micros []algo.MicroReport)
}

// Run is what a curriculum is made for.
type Run struct {
	*algo.Run
	Config    *config.Config
	Schedule  Schedule
	Domains   []algo.Domain             // of dynamic_mix and dynamic_lego
	MixerEval map[string][]data.Example // mixer_eval_dataset by domain
	Journal   Journal
	Log       *slog.Logger

	// Key names by content all that a choice can depend on.
	Key func(r algo.Request) (string, error)
	// Ask fills in Run.Questions for a method of that name.
	Ask func(ctx context.Context, method string) error
	// Column reads a column of the training data again, from its files.
	Column reorder.Column
}

// New makes the curriculum that train_type and component_name name, and the component,
// nil where there is none.
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

// static is a run that nothing decides on: the whole data set, pass after pass.
type static struct{}

func (static) Open(context.Context, int) (Window, bool, error) { return Window{}, false, nil }
func (static) Weights(context.Context, *Step) (Weights, error) { return Weights{}, nil }
func (static) Observe(context.Context, *Step) error            { return nil }
func (static) State() (json.RawMessage, error)                 { return nil, nil }
func (static) Restore(json.RawMessage) error                   { return nil }
func (static) Identity() (string, error)                       { return "", nil }
func (static) Memory() uint64                                  { return 0 }
func (static) Finish() error                                   { return nil }

package mixer

import (
	"context"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
)

func init() { algo.RegisterMixer("static", newStatic) }

// static keeps the same proportions at every update: its `proportions`, or equal shares. Both
// modes are the same. It is used in steps 1 and 3 of DoReMi: for the reference run, and for the
// final run with the averages that step 2 wrote to doremi_step3_proportions.txt.
type static struct{ proportions []float64 }

func newStatic(_ *algo.Run, domains []algo.Domain, _ algo.Mode, p *config.Params) (algo.Mixer, error) {
	given := p.Floats("proportions", nil)
	if err := p.Err(); err != nil {
		return nil, err
	}
	if given == nil {
		return &static{uniform(len(domains))}, nil
	}
	shares, err := proportions(given, len(domains))
	return &static{shares}, p.Wrap("proportions", err)
}

func (m *static) Mix(context.Context, algo.MixRequest) (algo.Mixture, error) {
	return algo.Mixture{Proportions: m.proportions}, nil
}

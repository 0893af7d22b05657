package mixer

import (
	"context"
	"fmt"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
)

func init() { algo.RegisterMixer("random", newRandom) }

// random draws proportions: uniform numbers scaled to sum to 1.
//
//	draw: fixed       the same at every update, from NumPy's RandomState(seed): upstream
//	draw: per_update  new ones at each, from RandomState(seed + update - 1): faithful
type random struct {
	k     int
	seed  uint64
	fixed bool
}

func newRandom(run *algo.Run, domains []algo.Domain, mode algo.Mode, p *config.Params) (algo.Mixer, error) {
	draw := map[algo.Mode]string{algo.Faithful: "per_update", algo.Upstream: "fixed"}[mode]
	draw = p.String("draw", draw)
	m := &random{k: len(domains), seed: uint64(p.Int("seed", int(run.Seed))), fixed: draw == "fixed"}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if draw != "fixed" && draw != "per_update" {
		return nil, p.Wrap("draw", fmt.Errorf("draw is fixed or per_update, not %q", draw))
	}
	return m, nil
}

func (m *random) Mix(_ context.Context, r algo.MixRequest) (algo.Mixture, error) {
	seed := m.seed
	if !m.fixed {
		seed += uint64(r.Update - 1)
	}
	return algo.Mixture{Proportions: Normalised(rng.NewRandomState(uint32(seed)).Random(m.k))}, nil
}

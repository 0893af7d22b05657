// Package selector holds the methods of dynamic_select. Importing it registers
// them.
package selector

import (
	"context"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
)

func init() { algo.RegisterSelector("random", newRandom) }

// defaultSeed is the seed of upstream's base selector.
const defaultSeed = 42

// random draws rows uniformly: the first n of a permutation seeded with
// seed + step, or n independent draws. Both modes draw the same rows.
type random struct {
	pool        int
	seed        uint64
	replacement bool
	dir         string
}

func newRandom(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &random{pool: len(run.Train), seed: uint64(p.Int("seed", defaultSeed)), replacement: p.Bool("replacement", false), dir: p.String("cache_dir", "")}
	return s, p.Err()
}

func (s *random) WarmupSeed() uint64 { return s.seed }

func (s *random) CacheDir() string { return s.dir }

func (s *random) Reuse() bool { return false }

func (s *random) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	g := rng.NewTorch(s.seed + uint64(r.Step))
	if s.replacement {
		return algo.Selection{Indices: g.Randint(0, s.pool, r.N)}, nil
	}
	return algo.Selection{Indices: g.Randperm(s.pool)[:r.N]}, nil
}

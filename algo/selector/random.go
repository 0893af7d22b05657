// Package selector holds the methods of dynamic_select. Importing it registers
// them.
package selector

import (
	"context"
	"fmt"

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
	run         *algo.Run
	seed        uint64
	replacement bool
	dir         string
}

func newRandom(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &random{run: run, seed: uint64(p.Int("seed", defaultSeed)), replacement: p.Bool("replacement", false), dir: p.String("cache_dir", "")}
	return s, p.Err()
}

func (s *random) WarmupSeed() uint64 { return s.seed }

func (s *random) CacheDir() string { return s.dir }

func (s *random) Reuse() bool { return false }

func (s *random) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	g, rows := rng.NewTorch(s.seed+uint64(r.Step)), poolOf(s.run, r)
	n := len(rows.examples)
	if s.replacement {
		return algo.Selection{Indices: rows.positions(g.Randint(0, n, r.N))}, nil
	}
	if r.N > n {
		return algo.Selection{}, fmt.Errorf("selector random: %d rows of a pool of %d: set replacement: true, or ask for fewer", r.N, n)
	}
	return algo.Selection{Indices: rows.positions(g.Randperm(n)[:r.N])}, nil
}

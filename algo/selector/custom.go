package selector

import (
	"context"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/program"
	"dataflex.dev/dataflex/algo/ranks"
)

func init() { algo.RegisterSelector("custom", newCustom) }

// custom calls the user's program for every selection:
//
//	{"step":4,"update":1,"num_samples":16,"rows":[{"index":0,"dataset":"d","row":0},…],"losses":[1.2,null,…]}
//	{"indices":[3,1,…],"scores":[0.9,…]}
//
// losses is included when `losses: true` is set; scores is optional, one per index. Without a
// program it does the same as upstream's example: rows 0 … n-1.
type custom struct {
	run     *algo.Run
	program *program.Program // nil without a command
	losses  bool
	dir     string
}

func newCustom(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &custom{run: run, losses: p.Bool("losses", false), dir: p.String("cache_dir", "")}
	var err error
	if s.program, err = program.FromParams(p, run.Log); err != nil {
		return nil, err
	}
	if s.program == nil {
		run.Log.Info("selector custom has no `command`: it picks rows 0 … n-1, as upstream's example does")
	}
	return s, nil
}

func (s *custom) CacheDir() string { return s.dir }

func (s *custom) Reuse() bool { return false }

// Finish ends the program.
func (s *custom) Finish() error {
	if s.program != nil {
		s.program.Close()
	}
	return nil
}

type customRow struct {
	Index   int    `json:"index"`
	Dataset string `json:"dataset"`
	Row     int    `json:"row"`
}

type customRequest struct {
	Step       int         `json:"step"`
	Update     int         `json:"update"`
	NumSamples int         `json:"num_samples"`
	Rows       []customRow `json:"rows"`
	Losses     []*float64  `json:"losses,omitempty"`
}

type customAnswer struct {
	Indices []int     `json:"indices"`
	Scores  []float64 `json:"scores"`
}

func (s *custom) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	if s.program == nil {
		rows := poolOf(s.run, r).all()
		if r.N > len(rows) {
			return algo.Selection{}, fmt.Errorf("selector custom: %d rows of a pool of %d", r.N, len(rows))
		}
		return algo.Selection{Indices: slices.Clone(rows[:r.N])}, nil
	}
	q := customRequest{Step: r.Step, Update: r.Update, NumSamples: r.N}
	p := poolOf(s.run, r)
	for i, row := range p.all() {
		q.Rows = append(q.Rows, customRow{Index: row, Dataset: p.examples[i].Dataset, Row: p.examples[i].Row})
	}
	sel := algo.Selection{}
	if s.losses {
		losses, err := p.losses(ctx, s.run, r.Step)
		if err != nil {
			return sel, err
		}
		sel.Scored = len(losses)
		q.Losses = nullable(losses)
	}
	answer, err := ranks.Decided(ctx, s.run.Ranks, "selector custom", func(ctx context.Context) (a customAnswer, err error) {
		return a, s.program.Ask(ctx, q, &a)
	})
	if err != nil {
		return sel, fmt.Errorf("selector custom: %w", err)
	}
	sel.Indices = answer.Indices
	if len(answer.Scores) > 0 {
		sel.Metric = map[string][]float64{"score": answer.Scores}
	}
	return sel, s.check(answer, p, r)
}

func (s *custom) check(a customAnswer, p pool, r algo.Request) error {
	in := p.mask()
	switch {
	case len(a.Indices) != r.N:
		return fmt.Errorf("selector custom: the program returned %d indices for a window of %d", len(a.Indices), r.N)
	case len(a.Scores) > 0 && len(a.Scores) != len(a.Indices):
		return fmt.Errorf("selector custom: the program returned %d scores for %d indices", len(a.Scores), len(a.Indices))
	}
	for _, i := range a.Indices {
		if i < 0 || i >= len(s.run.Train) {
			return fmt.Errorf("selector custom: the program returned index %d, but the pool has rows 0 to %d", i, len(s.run.Train)-1)
		}
		if in != nil && !in[i] {
			return fmt.Errorf("selector custom: the program returned index %d, which is none of the %d rows that it had to choose from", i, len(p.rows))
		}
	}
	return nil
}

// nullable writes a loss that is NaN or Inf as null.
func nullable(x []float64) []*float64 {
	out := make([]*float64, len(x))
	for i := range x {
		if x[i] == x[i] {
			out[i] = &x[i]
		}
	}
	return out
}

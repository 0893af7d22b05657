package selector

import (
	"context"
	"encoding/json"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
)

func init() { algo.RegisterSelector("static", newStatic) }

// static selects nothing: windows are consecutive parts of passes over the whole pool, so that
// a run differs from a selecting one only in the choice of rows. Each pass has its own order,
// drawn from the run's seed (`shuffle: false`: row order). Both modes are the same; upstream
// has no such selector, though its documentation lists one.
type static struct {
	run     *algo.Run
	shuffle bool
	dir     string
	read    int // rows returned so far
}

func newStatic(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &static{run: run, shuffle: p.Bool("shuffle", true), dir: p.String("cache_dir", "")}
	return s, p.Err()
}

func (s *static) CacheDir() string { return s.dir }

func (s *static) Reuse() bool { return false }

type staticState struct {
	Read int `json:"read"`
}

// State is the position in the passes.
func (s *static) State() (json.RawMessage, error) { return json.Marshal(staticState{s.read}) }

// Restore restores State.
func (s *static) Restore(raw json.RawMessage) error {
	var st staticState
	err := json.Unmarshal(raw, &st)
	s.read = st.Read
	return err
}

func (s *static) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	n, in := len(s.run.Train), poolOf(s.run, r).mask()
	var order []int
	pass := -1
	out := make([]int, 0, r.N)
	for len(out) < r.N {
		if p := s.read / n; p != pass {
			pass, order = p, s.order(p)
		}
		if row := order[s.read%n]; in == nil || in[row] {
			out = append(out, row)
		}
		s.read++
	}
	return algo.Selection{Indices: out}, nil
}

func (s *static) order(pass int) []int {
	n := len(s.run.Train)
	if s.shuffle {
		return rng.NewTorch(s.run.Seed + uint64(pass)).Randperm(n)
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

package selector

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/npy"
)

func init() { algo.RegisterSelector("near", newNear) }

// near picks the pool rows nearest to the queries, round robin: first every query's nearest
// row, then every query's second nearest, …, without repeats. The neighbours are read from a
// file with a line of row numbers per query in order of distance, as `dataflex-cli near` and
// upstream's offline script write it.
//
// upstream: the same prefix at every update, and an error where the file has too few rows.
// faithful: every update continues where the last one stopped, and from the start when the end
// is reached.
type near struct {
	run    *algo.Run
	mode   algo.Mode
	dir    string
	order  []int // rows, nearest first, without repeats
	cursor int   // rows returned so far; faithful only
}

func newNear(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &near{run: run, mode: mode, dir: p.String("cache_dir", "")}
	path := p.String("indices_path", "")
	a, err := readOffline(p, "indices_path", path, "neighbours", "dataflex-cli near")
	if err != nil {
		return nil, err
	}
	pool := len(run.Train)
	if run.Outline {
		pool = math.MaxInt32 // the number of rows is not known yet
	}
	if s.order, err = roundRobin(a, pool); err != nil {
		return nil, p.Wrap("indices_path", fmt.Errorf("%s: %w", path, err))
	}
	return s, nil
}

// readOffline reads the array that a method's offline step wrote to path, the value of key. For
// the error: what the array has, and the command that makes it.
func readOffline(p *config.Params, key, path, what, command string) (*npy.Array, error) {
	if err := p.Err(); err != nil {
		return nil, err
	}
	if path == "" {
		return nil, p.Wrap(key, fmt.Errorf("name the .npy of %s; `%s` makes one", what, command))
	}
	a, err := npy.Read(path)
	if err != nil {
		return nil, p.Wrap(key, fmt.Errorf("%w (`%s` makes such a file)", err, command))
	}
	return a, nil
}

// roundRobin reads a [queries, neighbours] matrix column by column and drops repeats.
func roundRobin(a *npy.Array, pool int) ([]int, error) {
	if len(a.Shape) != 2 || a.Len() == 0 {
		return nil, fmt.Errorf("neighbours are a matrix [queries, neighbours], not an array of shape %v", a.Shape)
	}
	rows, err := a.Ints()
	if err != nil {
		return nil, err
	}
	m, k := a.Shape[0], a.Shape[1]
	seen := map[int]bool{}
	var order []int
	for c := range k {
		for q := range m {
			i := rows[q*k+c]
			if i < 0 || i >= pool {
				return nil, fmt.Errorf("neighbour %d of query %d is row %d, the training set has rows 0 to %d: the file was made for other data, or rows were dropped since", c, q, i, pool-1)
			}
			if !seen[i] {
				seen[i] = true
				order = append(order, i)
			}
		}
	}
	return order, nil
}

func (s *near) CacheDir() string { return s.dir }

func (s *near) Reuse() bool { return false }

type nearState struct {
	Cursor int `json:"cursor"`
}

// State is the position in the list of neighbours.
func (s *near) State() (json.RawMessage, error) { return json.Marshal(nearState{s.cursor}) }

// Restore restores State.
func (s *near) Restore(raw json.RawMessage) error {
	var st nearState
	err := json.Unmarshal(raw, &st)
	s.cursor = st.Cursor
	return err
}

func (s *near) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	if r.Pool != nil {
		return s.among(poolOf(s.run, r), r)
	}
	if s.mode == algo.Upstream {
		if r.N > len(s.order) {
			return algo.Selection{}, fmt.Errorf("selector near: the window needs %d rows, the file of neighbours names %d distinct ones", r.N, len(s.order))
		}
		return algo.Selection{Indices: append([]int(nil), s.order[:r.N]...)}, nil
	}
	out := make([]int, r.N)
	for i := range out {
		if s.cursor > 0 && s.cursor%len(s.order) == 0 {
			s.run.Log.Info("selector near: every neighbour was picked; starting again from the nearest", "rows", len(s.order))
		}
		out[i] = s.order[s.cursor%len(s.order)]
		s.cursor++
	}
	return algo.Selection{Indices: out}, nil
}

// among is the nearest rows of a pool, from which the rows trained on have been removed;
// repeated where there are fewer than wanted.
func (s *near) among(p pool, r algo.Request) (algo.Selection, error) {
	in := p.mask()
	var rows []int
	for _, row := range s.order {
		if in[row] {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return algo.Selection{}, fmt.Errorf("selector near: none of the %d rows of the pool is among the neighbours", len(p.rows))
	}
	out := make([]int, r.N)
	for i := range out {
		out[i] = rows[i%len(rows)]
	}
	return algo.Selection{Indices: out}, nil
}

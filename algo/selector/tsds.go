package selector

import (
	"context"
	"encoding/json"
	"fmt"
	"math"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
)

func init() { algo.RegisterSelector("tsds", newTSDS) }

// tsds draws rows with the probabilities of TSDS: Data Selection for Task-Specific Model
// Finetuning (Liu, Karbasi, Rekatsinas, NeurIPS 2024, arXiv:2410.11303), which `dataflex-cli
// tsds` computes from sentence vectors and writes to a file.
//
// upstream: NumPy's RandomState(run seed).choice without replacement; the stream continues from
// update to update and is stored in checkpoints. It is an error when fewer rows have a positive
// probability than the window needs.
// faithful: with replacement, as the paper's multinomial, but by systematic sampling (one
// uniform number, n equidistant points over the rows in random order), so that row i is drawn
// ⌊np_i⌋ or ⌈np_i⌉ times; the draw depends only on seed and step.
type tsds struct {
	run    *algo.Run
	mode   algo.Mode
	dir    string
	p      []float64
	stream *rng.RandomState
}

func newTSDS(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &tsds{run: run, mode: mode, dir: p.String("cache_dir", ""), stream: rng.NewRandomState(uint32(run.Seed))}
	path := p.String("probs_path", "")
	a, err := readOffline(p, "probs_path", path, "probabilities", "dataflex-cli tsds")
	if err != nil {
		return nil, err
	}
	s.p = a.Float64s()
	pool := len(run.Train)
	if run.Outline {
		pool = len(s.p) // the number of rows is not known yet
	}
	if err := checkProbabilities(s.p, a.Shape, pool); err != nil {
		return nil, p.Wrap("probs_path", fmt.Errorf("%s: %w", path, err))
	}
	return s, nil
}

// checkProbabilities requires one number >= 0 per row, and the sum 1, as NumPy's choice does.
func checkProbabilities(p []float64, shape []int, pool int) error {
	if len(shape) != 1 {
		return fmt.Errorf("an array of shape %v: a probability for each row is needed, an array of one dimension", shape)
	}
	if len(p) != pool {
		return fmt.Errorf("an array of shape %v for a training set of %d rows: the file was made for other data, or rows were dropped since", shape, pool)
	}
	var sum float64
	for i, x := range p {
		if !(x >= 0) {
			return fmt.Errorf("the probability of row %d is %v", i, x)
		}
		sum += x
	}
	if math.Abs(sum-1) > 1.5e-8 {
		return fmt.Errorf("the probabilities sum to %v, not to 1", sum)
	}
	return nil
}

func (s *tsds) CacheDir() string { return s.dir }

func (s *tsds) Reuse() bool { return false }

type tsdsState struct {
	Stream []byte `json:"stream"`
}

// State is the random stream.
func (s *tsds) State() (json.RawMessage, error) {
	return json.Marshal(tsdsState{s.stream.State()})
}

// Restore restores the random stream.
func (s *tsds) Restore(raw json.RawMessage) error {
	var st tsdsState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	return s.stream.SetState(st.Stream)
}

func (s *tsds) Select(_ context.Context, r algo.Request) (algo.Selection, error) {
	p, err := s.within(poolOf(s.run, r))
	if err != nil {
		return algo.Selection{}, err
	}
	indices, err := s.draw(p, r)
	if err != nil {
		return algo.Selection{}, fmt.Errorf("selector tsds at step %d: %w", r.Step, err)
	}
	return algo.Selection{Indices: indices, Metric: map[string][]float64{"probability": pick(s.p, indices)}, Score: s.p}, nil
}

// within is the probabilities of a pool's rows, scaled to sum to 1.
func (s *tsds) within(rows pool) ([]float64, error) {
	in := rows.mask()
	if in == nil {
		return s.p, nil
	}
	p := make([]float64, len(s.p))
	var sum float64
	for i, x := range s.p {
		if in[i] {
			p[i] = x
			sum += x
		}
	}
	if sum == 0 {
		return nil, fmt.Errorf("selector tsds: none of the %d rows of the pool has a probability above 0", len(rows.rows))
	}
	for i := range p {
		p[i] /= sum
	}
	return p, nil
}

func (s *tsds) draw(p []float64, r algo.Request) ([]int, error) {
	if s.mode == algo.Upstream {
		return s.stream.Choice(len(p), r.N, false, p)
	}
	g := rng.NewTorch(s.run.Seed + uint64(r.Step))
	return systematic(p, r.N, g.Randperm(len(p)), g.Double()), nil
}

// systematic concatenates the rows' probabilities in the given order and picks the rows at the
// n points (u+i)/n.
func systematic(p []float64, n int, order []int, u float64) []int {
	var total float64
	for _, x := range p {
		total += x
	}
	out := make([]int, 0, n)
	var reached float64
	last := 0
	for _, i := range order {
		if p[i] == 0 {
			continue
		}
		last = i
		for reached += p[i]; len(out) < n && u+float64(len(out)) < reached/total*float64(n); {
			out = append(out, i)
		}
	}
	for len(out) < n { // rounding may put the last point past the end
		out = append(out, last)
	}
	return out
}

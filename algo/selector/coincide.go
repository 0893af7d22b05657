package selector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/cluster"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/model/decoder"
)

func init() { algo.RegisterSelector("coincide", newCOINCIDE) }

// COINCIDE: Concept-skill Transferability-based Data Selection for Large Vision-Language Models
// (Lee, Li, Hwang, EMNLP 2024, arXiv:2406.10995), for text: rows are clustered by vectors from
// several layers; clusters that are similar to others (S) and whose rows are diverse (D small)
// have larger shares, softmax(S/(τD)); from each cluster the rows are taken that together are
// most similar to it, by the squared maximum mean discrepancy. No evaluation set and no
// gradients are needed. The paper uses image and text features of each layer; here there are
// only text features.
//
// faithful, as the official code: means before tanh, 50 iterations of spherical k-means, τ 0.1,
// the kernel e^(-d²/2), centres with a cosine above 0.9 counted as one, and budgets from the
// largest share down; num/13 clusters (at most 10000), where num is the number of rows that the
// whole run selects. The official code uses the output of attention; here it is the layers'
// hidden states, as in DataFlex. Nothing depends on the step: successive selections continue in
// each cluster's order instead of repeating it, and start over when every row has been taken.
// upstream: DataFlex 1.1's code, except that it accepts models without images: tanh before
// means, 10 iterations, 10000 clusters, τ 1, e^(-d²), largest remainders, the same rows at
// every selection. `variant: upstream` uses this arithmetic in mode faithful.
type coincide struct {
	run      *algo.Run
	mode     algo.Mode
	official bool // the arithmetic of the official code
	options  cluster.Options
	folder   string // of the embedding model; "" = the model being trained
	layers   []int  // nil: five, evenly spaced
	tau      float64
	single   float64 // density of a cluster with one row
	dir      string

	found *concepts // nil before the first selection
}

// concepts is computed from the pool once in a run.
type concepts struct {
	layers                   []int
	order                    [][]int // every cluster's rows, in greedy order
	shares                   []float64
	transferability, density []float64
	taken                    []int // rows of every cluster that earlier selections took
}

// Cost is a pass that computes the vectors, at the first selection.
func (s *coincide) Cost() algo.Cost { return algo.Cost{Forward: 1} }

func newCOINCIDE(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	variant, iterations, tau := "official", 50, 0.1
	if mode == algo.Upstream {
		variant = "upstream"
	}
	variant = p.String("variant", variant)
	if variant == "upstream" {
		iterations, tau = 10, 1
	}
	s := &coincide{
		run: run, mode: mode, official: variant == "official", dir: p.String("cache_dir", "cache/coincide"),
		folder: p.String("embedding_model_name_or_path", os.Getenv("DATAFLEX_COINCIDE_EMBEDDING_MODEL")),
		layers: p.Ints("embedding_layers", nil), tau: p.Float("temperature", tau), single: p.Float("single_member_density", 1),
		options: cluster.Options{
			Method: cluster.SphericalKMeans, K: p.Int("num_clusters", 0), Seed: uint64(p.Int("seed", defaultSeed)),
			Iterations: p.Int("clustering_max_iter", iterations),
		},
	}
	dtype := p.String("embedding_model_dtype", "auto")
	for _, of := range []string{"clustering_batch_size", "clustering_num_workers", "assignment_chunk_size", "density_chunk_size"} {
		p.Int(of, 0) // batches and blocks are chosen here
	}
	p.String("clustering_device", "auto") // the run's device is used
	if err := s.checkParams(p, variant, dtype); err != nil {
		return nil, err
	}
	run.Log.Info("coincide: the paper uses image and text features of every layer; here there are only text features")
	return s, nil
}

// checkParams returns an error if a parameter has no meaning.
func (s *coincide) checkParams(p *config.Params, variant, dtype string) error {
	if err := p.Err(); err != nil {
		return err
	}
	switch {
	case variant != "official" && variant != "upstream":
		return p.Wrap("variant", fmt.Errorf("variant is official or upstream, not %q", variant))
	case variant == "official" && s.mode == algo.Upstream:
		return p.Wrap("variant", errors.New("the official code's arithmetic belongs to mode: faithful"))
	case s.options.K < 0:
		return p.Wrap("num_clusters", fmt.Errorf("%d clusters", s.options.K))
	case !(s.tau > 0):
		return p.Wrap("temperature", fmt.Errorf("the temperature must be positive, not %v", s.tau))
	case !(s.single > 0):
		return p.Wrap("single_member_density", fmt.Errorf("a density must be positive, not %v", s.single))
	case p.Given("embedding_layers") && len(s.layers) == 0:
		return p.Wrap("embedding_layers", errors.New("at least one layer is needed"))
	case dtype != "auto" && dtype != "fp16" && dtype != "bf16" && dtype != "fp32":
		return p.Wrap("embedding_model_dtype", fmt.Errorf("auto, fp16, bf16 or fp32 (all computed in float32 here), not %q", dtype))
	}
	if s.folder == "" {
		layers := s.run.Model.Config().Layers
		for _, l := range s.layers {
			if l > layers || l < -layers-1 {
				return p.Wrap("embedding_layers", fmt.Errorf("the model has hidden states 0 to %d, or -1 to -%d from the end, not %d", layers, layers+1, l))
			}
		}
	}
	return nil
}

func (s *coincide) CacheDir() string { return s.dir }

// Reuse is off: with a choice taken from disk, the clusters and the rows taken from them would
// be unknown.
func (s *coincide) Reuse() bool { return false }

// MemoryBytes is the size of the pool's vectors, and of a copy where they are clustered.
func (s *coincide) MemoryBytes() uint64 {
	c := s.run.Model.Config()
	layers := len(s.layers)
	if layers == 0 {
		layers = min(5, c.Layers)
	}
	return 8 * uint64(len(s.run.Train)) * uint64(layers*c.Hidden)
}

func (s *coincide) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	embedded := 0
	if s.found == nil {
		c, err := s.cluster(ctx, r)
		if err != nil {
			return algo.Selection{}, fmt.Errorf("coincide: %w", err)
		}
		s.found, embedded = c, len(s.run.Train)
	}
	c := s.found
	switch {
	case r.Pool != nil:
		if c = c.among(poolOf(s.run, r).mask()); c == nil {
			return algo.Selection{}, fmt.Errorf("selector coincide: none of the %d rows of the pool has a finite vector", len(r.Pool))
		}
	case s.mode == algo.Upstream:
		clear(c.taken)
	}
	budget := make([]int, len(c.order))
	var indices []int
	for len(indices) < r.N {
		part := s.deal(c, r.N-len(indices))
		if sum(part) == 0 { // every row has been taken
			clear(c.taken)
			continue
		}
		for i, m := range part {
			indices = append(indices, c.order[i][c.taken[i]:c.taken[i]+m]...)
			c.taken[i] += m
			budget[i] += m
		}
	}
	return algo.Selection{Indices: indices, Scored: embedded, Facts: map[string]any{
		"num_clusters": len(c.order), "temperature": s.tau, "selected_layers": c.layers, "budget_per_cluster": budget, "N_core": r.N,
		"transferability_summary": summary(c.transferability), "density_summary": summary(c.density),
	}}, nil
}

// among restricts the clusters to rows of a pool, which does not contain the rows already
// taken. It is nil where none are left.
func (c *concepts) among(in []bool) *concepts {
	out := *c
	out.order, out.taken = make([][]int, len(c.order)), make([]int, len(c.order))
	rows := 0
	for i, all := range c.order {
		for _, row := range all {
			if in[row] {
				out.order[i] = append(out.order[i], row)
				rows++
			}
		}
	}
	if rows == 0 {
		return nil
	}
	return &out
}

// deal is how many of the next n rows come from each cluster; their sum is less than n where
// fewer rows are left.
func (s *coincide) deal(c *concepts, n int) []int {
	room, all := make([]int, len(c.order)), 0
	for i, rows := range c.order {
		room[i] = len(rows) - c.taken[i]
		all += room[i]
	}
	deal := cluster.LargestRemainder
	if s.official {
		deal = cluster.InTurn
	}
	out := deal(c.shares, min(n, all), room)
	// If the shares are too small for a positive sum, the remaining rows are taken in order.
	for i, rest := 0, min(n, all)-sum(out); rest > 0; i++ {
		m := min(rest, room[i]-out[i])
		out[i], rest = out[i]+m, rest-m
	}
	return out
}

func sum(x []int) (n int) {
	for _, v := range x {
		n += v
	}
	return n
}

func summary(x []float64) map[string]any {
	var mean float64
	for _, v := range x {
		mean += v / float64(len(x))
	}
	return map[string]any{"min": slices.Min(x), "mean": mean, "max": slices.Max(x)}
}

// mostMembers limits the size of a cluster, whose rows are all compared with each other.
const mostMembers = 1 << 14

// cluster clusters the pool and orders the rows of each cluster.
func (s *coincide) cluster(ctx context.Context, r algo.Request) (*concepts, error) {
	o, err := s.clusters(r)
	if err != nil {
		return nil, err
	}
	c := &concepts{}
	v, err := s.vectors(ctx, c)
	if err != nil {
		return nil, err
	}
	whole := finiteRows(v)
	if len(whole) == 0 {
		return nil, errors.New("no row of the pool has a finite vector")
	}
	if len(whole) < v.N {
		v = v.Select(whole)
	}
	ids, err := cluster.Assign(ctx, s.run.Device, v, o)
	if err != nil {
		return nil, err
	}
	k, nearest, scale := slices.Max(ids)+1, 2.0, 1.0
	if s.official {
		nearest, scale = 0.9, 0.5
	}
	if c.transferability, err = cluster.Transferability(ctx, s.run.Device, v, ids, k, nearest); err != nil {
		return nil, err
	}
	if err := s.orderMembers(ctx, c, v, whole, ids, o.K, scale); err != nil {
		return nil, err
	}
	c.shares, c.taken = cluster.Shares(c.transferability, c.density, s.tau), make([]int, k)
	s.run.Log.Info("coincide: the pool is clustered", "rows", len(ids), "clusters", k, "layers", c.layers)
	return c, nil
}

// orderMembers computes the density of every cluster and the order of its rows. Row i of v, in
// cluster ids[i], is row whole[i] of the pool; wanted is the number of clusters asked for.
func (s *coincide) orderMembers(ctx context.Context, c *concepts, v neighbor.Vectors, whole, ids []int, wanted int, scale float64) error {
	members := make([][]int, slices.Max(ids)+1)
	for i, id := range ids {
		members[id] = append(members[id], i)
	}
	for i, m := range members {
		if len(m) > mostMembers {
			return fmt.Errorf("cluster %d has %d rows, more than %d that can be compared with each other: raise num_clusters (%d)", i, len(m), mostMembers, wanted)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		order, density := []int(nil), s.single
		if len(m) > 0 {
			kernel, err := cluster.NewKernel(s.run.Device, v.Select(m), scale)
			if err != nil {
				return fmt.Errorf("cluster of %d rows: %w", len(m), err)
			}
			density = kernel.Density(s.official, s.single)
			for _, j := range kernel.Order() {
				order = append(order, whole[m[j]])
			}
		}
		c.order, c.density = append(c.order, order), append(c.density, density)
	}
	return nil
}

// clusters determines the number of clusters K.
func (s *coincide) clusters(r algo.Request) (cluster.Options, error) {
	o, n := s.options, len(s.run.Train)
	if s.mode == algo.Upstream {
		if o.K == 0 {
			o.K = 10000
		}
		return o, nil // there are at most n clusters of n rows
	}
	wanted := min(n, r.N*max(1, s.run.Updates))
	switch {
	case o.K == 0:
		o.K = min(10000, max(1, wanted/13))
	case wanted < o.K:
		return o, fmt.Errorf("num_clusters is %d and the run selects %d rows, less than one of each cluster: lower num_clusters, or leave it out for one cluster per 13 rows", o.K, wanted)
	}
	return o, nil
}

// fiveLayers is upstream's linspace(1, L, min(5, L)), rounded half to even.
func fiveLayers(l int) (out []int) {
	m := min(5, l)
	for i := range m {
		at := 1.0
		if m > 1 {
			at += float64(i) * float64(l-1) / float64(m-1)
		}
		out = append(out, int(math.RoundToEven(at)))
	}
	return slices.Compact(out)
}

type coincideState struct {
	Order           []byte    `json:"order"` // .npy of int64: the rows, cluster after cluster
	Sizes           []int     `json:"sizes"` // of the clusters
	Taken           []int     `json:"taken"`
	Shares          []float64 `json:"shares"`
	Transferability []float64 `json:"transferability"`
	Density         []float64 `json:"density"`
	Layers          []int     `json:"layers"`
}

// State is the clusters, the order of their rows and the number of rows taken from each.
func (s *coincide) State() (json.RawMessage, error) {
	if s.found == nil {
		return json.RawMessage("null"), nil
	}
	c := s.found
	st := coincideState{Taken: c.taken, Shares: c.shares, Transferability: c.transferability, Density: c.density, Layers: c.layers}
	var rows []int64
	for _, order := range c.order {
		st.Sizes = append(st.Sizes, len(order))
		for _, i := range order {
			rows = append(rows, int64(i))
		}
	}
	st.Order = npy.Encode(rows, len(rows))
	return json.Marshal(st)
}

// Restore restores State.
func (s *coincide) Restore(raw json.RawMessage) error {
	var st *coincideState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	if st == nil {
		s.found = nil
		return nil
	}
	rows, err := unpackInts(st.Order)
	if err != nil {
		return fmt.Errorf("order of the clusters' rows: %w", err)
	}
	k := len(st.Sizes)
	if sum(st.Sizes) != len(rows) || len(st.Taken) != k || len(st.Shares) != k || len(st.Transferability) != k || len(st.Density) != k {
		return fmt.Errorf("%d clusters of %d rows, of which %d are named", k, sum(st.Sizes), len(rows))
	}
	c := &concepts{layers: st.Layers, shares: st.Shares, transferability: st.Transferability, density: st.Density, taken: st.Taken}
	for i, n := range st.Sizes {
		if n < 0 || n > len(rows) || st.Taken[i] < 0 || st.Taken[i] > n || slices.ContainsFunc(rows[:n], func(r int) bool { return r < 0 || r >= len(s.run.Train) }) {
			return fmt.Errorf("cluster %d does not fit a pool of %d rows", i, len(s.run.Train))
		}
		c.order, rows = append(c.order, rows[:n:n]), rows[n:]
	}
	s.found = c
	return nil
}

// vectors are the pool's vectors from the embedding model's layers, which it records.
func (s *coincide) vectors(ctx context.Context, c *concepts) (neighbor.Vectors, error) {
	model := s.run.Model
	if s.folder != "" {
		m, err := decoder.Load(s.run.Device, s.folder, decoder.Options{})
		if err != nil {
			return neighbor.Vectors{}, fmt.Errorf("embedding model: %w", err)
		}
		defer m.Close()
		model = m
	}
	if c.layers = s.layers; c.layers == nil {
		c.layers = fiveLayers(model.Config().Layers)
	}
	pass := feature.BlockPass{Pass: feature.Pass{Device: s.run.Device, Model: model, Log: s.run.Log, Ranks: s.run.Ranks}, Layers: c.layers, TanhFirst: !s.official}
	v, err := feature.Blocks(ctx, pass, s.run.Train)
	if err != nil && s.folder != "" {
		err = fmt.Errorf("embedding model %s, which reads the training model's token ids: %w", s.folder, err)
	}
	return v, err
}

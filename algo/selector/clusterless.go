package selector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/cluster"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/model/decoder"
)

func init() { algo.RegisterSelector("cluster_less", newClusterLESS) }

// clusterLESS is LESS with gradients for only a few representatives of each cluster. Sentence
// vectors (the training model's hidden states at the first selection, averaged over a row, or
// those of another model) are clustered once; a cluster's feature is the normalised mean of its
// representatives' unit gradients; its cosine with the evaluation rows is the score of all its
// rows. There is no paper: both modes follow DataFlex, each with its own LESS.
//
// All rows of a cluster have the same score. Among them upstream takes those that torch.topk
// takes, faithful the ones nearest to the cluster's mean.
//
// Clusters, and the distances that determine their representatives, are state of the method and
// are stored in checkpoints. Gradients are compared unprojected unless `projection` says
// otherwise: only the sum over one cluster is needed at a time.
type clusterLESS struct {
	*influence
	options    cluster.Options
	size       int // target number of rows per cluster, where K is not given
	perCluster int
	strategy   cluster.Strategy
	folder     string // of the embedding model; "" = the model being trained
	layer      int

	ids       []int     // every row's cluster; nil before the first selection
	distances []float64 // of every row to its cluster's mean
}

func newClusterLESS(run *algo.Run, mode algo.Mode, p *config.Params) (algo.Selector, error) {
	d := influenceDefaults{name: "cluster_less", dim: 8192, seed: defaultSeed, cacheDir: "cache/cluster_less"}
	if mode == algo.Upstream {
		d.dim = 4096
	}
	base, err := newInfluence(run, mode, p, d)
	if err != nil {
		return nil, err
	}
	s := &clusterLESS{
		influence: base, size: p.Int("cluster_size", 64), perCluster: p.Int("samples_per_cluster", 3),
		folder: p.Model("embedding_model_name_or_path"), layer: p.Int("embedding_layer", -1),
		options: cluster.Options{K: p.Int("num_clusters", 0), Iterations: p.Int("clustering_max_iter", 20), Bits: p.Int("lsh_num_bits", 0), Seed: base.seed},
	}
	method, strategy := p.String("clustering_method", string(cluster.KMeans)), p.String("representative_strategy", string(cluster.Random))
	dtype := p.String("embedding_model_dtype", "auto")
	p.Int("clustering_batch_size", 8)    // batches here are limited by tokens
	p.Int("assignment_chunk_size", 4096) // and distances are computed in blocks of another size
	if err := p.Err(); err != nil {
		return nil, err
	}
	if s.options.Method, err = cluster.ParseMethod(method); err != nil {
		return nil, p.Wrap("clustering_method", err)
	}
	if s.strategy, err = cluster.ParseStrategy(strategy); err != nil {
		return nil, p.Wrap("representative_strategy", err)
	}
	return s, s.check(p, dtype)
}

func (s *clusterLESS) check(p *config.Params, dtype string) error {
	layers := s.run.Model.Config().Layers
	switch {
	case s.size < 1:
		return p.Wrap("cluster_size", fmt.Errorf("a cluster has at least one row, not %d", s.size))
	case s.options.K < 0:
		return p.Wrap("num_clusters", fmt.Errorf("%d clusters", s.options.K))
	case s.perCluster < 1:
		return p.Wrap("samples_per_cluster", fmt.Errorf("at least one row represents a cluster, not %d", s.perCluster))
	case dtype != "auto" && dtype != "fp16" && dtype != "bf16" && dtype != "fp32":
		return p.Wrap("embedding_model_dtype", fmt.Errorf("auto, fp16, bf16 or fp32 (all computed in float32 here), not %q", dtype))
	case s.folder == "" && (s.layer > layers || s.layer < -layers-1):
		return p.Wrap("embedding_layer", fmt.Errorf("the model has hidden states 0 to %d, or -1 to -%d from the end, not %d", layers, layers+1, s.layer))
	}
	if s.options.K == 0 {
		s.options.K = (len(s.run.Train) + s.size - 1) / s.size
	}
	return nil
}

// Reuse is off until there are clusters: with a first choice taken from disk, they would be
// unknown. The key does not cover a folder's contents.
func (s *clusterLESS) Reuse() bool { return s.ids != nil && s.folder == "" }

// Cost is a pass that computes the vectors, at the first selection, and the gradients of the
// representatives.
func (s *clusterLESS) Cost() algo.Cost {
	return algo.Cost{Forward: 1, Gradient: float64(s.groups()) * min(1, float64(s.perCluster)/float64(s.size)), EvalGradient: 1}
}

type clusterState struct {
	Clusters  []byte `json:"clusters"`  // .npy of int64, one per pool row; absent before the first selection
	Distances []byte `json:"distances"` // .npy of float32, likewise
}

// State is the clusters.
func (s *clusterLESS) State() (json.RawMessage, error) {
	if s.ids == nil {
		return json.Marshal(clusterState{})
	}
	ids := make([]int64, len(s.ids))
	for i, c := range s.ids {
		ids[i] = int64(c)
	}
	return json.Marshal(clusterState{Clusters: npy.Encode(ids, len(ids)), Distances: packFloats(s.distances)})
}

// Restore restores the clusters.
func (s *clusterLESS) Restore(raw json.RawMessage) error {
	var st clusterState
	if err := json.Unmarshal(raw, &st); err != nil {
		return err
	}
	s.ids, s.distances = nil, nil // also restores the state before a first selection that failed
	if st.Clusters == nil {
		return nil
	}
	ids, err := unpackInts(st.Clusters)
	if err != nil {
		return fmt.Errorf("clusters: %w", err)
	}
	if len(ids) != len(s.run.Train) {
		return fmt.Errorf("clusters of %d rows for a pool of %d", len(ids), len(s.run.Train))
	}
	if s.distances, err = unpackFloats(st.Distances, len(ids)); err != nil {
		return fmt.Errorf("distances: %w", err)
	}
	s.ids = ids
	return nil
}

func (s *clusterLESS) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	embedded := 0
	if s.ids == nil {
		if err := s.partition(ctx); err != nil {
			return algo.Selection{}, err
		}
		embedded = len(s.ids)
	}
	representatives := cluster.Representatives(s.ids, s.distances, s.strategy, s.perCluster, rng.NewTorch(s.seed+uint64(r.Step)+17))
	c := &scan{influence: s.influence, pool: s.run.Train}
	clusters, err := s.clusterScores(ctx, r.Key, representatives, c)
	if err := c.end(err); err != nil {
		return algo.Selection{}, err
	}
	score := make([]float64, len(s.ids))
	for i, c := range s.ids {
		score[i] = clusters[c]
	}
	score = poolOf(s.run, r).within(score)
	if err := scored(s.run.Log, s.run.Train, score); err != nil {
		return algo.Selection{}, err
	}
	indices := topAmong(s.mode, score, s.distances, r.N)
	facts := map[string]any{
		"num_clusters": len(clusters), "num_representatives": len(representatives), "samples_per_cluster": s.perCluster,
		"clustering_method": string(s.options.Method), "representative_strategy": string(s.strategy), "embedding_layer": s.layer,
	}
	if judged := c.projectionFacts(clusters); s.mode == algo.Faithful {
		maps.Copy(facts, judged)
	}
	return algo.Selection{
		Indices: indices, Metric: map[string][]float64{"cluster_less_score": pick(score, indices)}, Score: score,
		Scored: embedded + len(representatives)*s.groups() + len(s.run.Eval), Facts: facts,
	}, nil
}

// partition computes the clusters, once per run.
func (s *clusterLESS) partition(ctx context.Context) error {
	v, err := s.vectors(ctx)
	if err != nil {
		return err
	}
	whole := finiteRows(v)
	if len(whole) == 0 {
		return errors.New("cluster_less: no row of the pool has a finite sentence vector")
	}
	if len(whole) < v.N {
		v = v.Select(whole)
	}
	v.Normalize()
	ids, err := cluster.Assign(ctx, s.run.Device, v, s.options)
	if err != nil {
		return err
	}
	s.keep(whole, ids, cluster.Distances(v, ids))
	s.run.Log.Info("cluster_less: the pool is partitioned", "rows", len(ids), "clusters", s.options.K, "method", string(s.options.Method))
	return nil
}

// finiteRows lists the rows whose vectors are finite.
func finiteRows(v neighbor.Vectors) (rows []int) {
	for i := range v.N {
		if !slices.ContainsFunc(v.Row(i), func(x float32) bool { return math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) }) {
			rows = append(rows, i)
		}
	}
	return rows
}

// keep stores the clusters of rows. The other rows form a cluster of their own, which is scored
// by its gradients like any other.
func (s *clusterLESS) keep(rows, ids []int, distances []float64) {
	n := len(s.run.Train)
	s.ids, s.distances = make([]int, n), make([]float64, n)
	for i := range s.ids {
		s.ids[i] = slices.Max(ids) + 1
	}
	for i, row := range rows {
		s.ids[row], s.distances[row] = ids[i], distances[i]
	}
}

func (s *clusterLESS) vectors(ctx context.Context) (neighbor.Vectors, error) {
	model := s.run.Model
	if s.folder != "" {
		m, err := decoder.Load(s.run.Device, s.folder, decoder.Options{Headless: true})
		if err != nil {
			return neighbor.Vectors{}, fmt.Errorf("embedding model: %w", err)
		}
		defer m.Close()
		model = m
	}
	pass := feature.VectorPass{
		Pass:  feature.Pass{Device: s.run.Device, Model: model, Log: s.run.Log, Ranks: s.run.Ranks},
		Layer: s.layer, Pooling: feature.Mean,
	}
	v, err := feature.Vectors(ctx, pass, s.run.Train)
	if err != nil && s.folder != "" {
		err = fmt.Errorf("embedding model %s, which reads the training model's token ids: %w", s.folder, err)
	}
	return v, err
}

// clusterScores is every cluster's largest mean cosine over the subtasks; NaN for a cluster
// without a representative that has a gradient.
func (s *clusterLESS) clusterScores(ctx context.Context, key string, representatives []int, c *scan) ([]float64, error) {
	score := make([]float64, s.clusters())
	for i := range score {
		score[i] = math.NaN()
	}
	n, all := len(s.tasks), s.members(representatives)
	key = keyWith(key, fmt.Sprint("clusters ", all))
	for lo := 0; lo < n; lo += s.atOnce {
		hi := min(lo+s.atOnce, n)
		err := c.clusters(ctx, groupKey(key, lo, hi, n), all, lo, hi, func(cluster int, cosines []float32) {
			best := float64(slices.Max(cosines))
			if !(score[cluster] >= best) {
				score[cluster] = best
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return score, nil
}

// MemoryBytes is the size of the gradient sums, in float64, of the clusters that are compared
// at a time.
func (s *clusterLESS) MemoryBytes() uint64 {
	return s.influence.MemoryBytes() + 2*uint64(min(s.options.K, s.clustersHeld()))*s.meanBytes()
}

// members are the representatives of every cluster that has any.
func (s *clusterLESS) members(representatives []int) (out []clusterOf) {
	for _, row := range representatives { // grouped by cluster
		if id := s.ids[row]; len(out) == 0 || out[len(out)-1].id != id {
			out = append(out, clusterOf{id: id})
		}
		last := &out[len(out)-1]
		last.rows = append(last.rows, row)
	}
	return out
}

// clusters returns the number of clusters up to the last non-empty one.
func (s *clusterLESS) clusters() int {
	most := 0
	for _, c := range s.ids {
		most = max(most, c)
	}
	return most + 1
}

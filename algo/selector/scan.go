package selector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/model/optim"
)

// scan compares the pool's rows with the targets, for one selection. Its results are in the
// feature store until the selection is made: a pass that was killed is continued, and one that
// was finished is not repeated.
type scan struct {
	*influence
	pool         []data.Example // the rows to compare
	stores       []*feature.Store
	squaredError []float64 // per subtask: the square of the projection's error in a score
}

// cosines returns the cosines [pool, subtasks] under the model's current weights. key
// identifies everything that they depend on; weight is their factor in the scores.
func (c *scan) cosines(ctx context.Context, key string, o optim.Adaptive, weight float64, mean meanOf) ([]float32, error) {
	n := len(c.tasks)
	out := make([]float32, len(c.pool)*n)
	for lo := 0; lo < n; lo += c.atOnce {
		hi := min(lo+c.atOnce, n)
		if err := c.storeGroup(ctx, groupKey(key, lo, hi, n), o, weight, mean, lo, hi, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// storeGroup computes them for subtasks lo to hi (exclusive), which share a pass.
func (c *scan) storeGroup(ctx context.Context, key string, o optim.Adaptive, weight float64, mean meanOf, lo, hi int, out []float32) error {
	t, err := c.newTargets(ctx, lo, hi, mean)
	if err != nil {
		return err
	}
	defer t.close()
	c.addError(t, weight, lo)
	store, err := feature.OpenStore(ctx, c.run.Ranks, filepath.Join(c.dir, "features"), key, len(c.pool), t.n)
	if err != nil {
		return err
	}
	c.stores = append(c.stores, store)
	pass := c.pass(t.features, o, c.direction(o))
	pass.Keep = t.cosines
	err = feature.Gradients(ctx, pass, c.pool, store.Rows(), func(rows []int, cosines []float32, _ []float64) error {
		return store.Put(rows, cosines)
	})
	if err != nil {
		return fmt.Errorf("training rows: %w", err)
	}
	for i := range c.pool {
		at := i*len(c.tasks) + lo
		if err := store.Row(i, out[at:at+t.n]); err != nil {
			return err
		}
	}
	return nil
}

// clusterOf is a cluster and its representatives.
type clusterOf struct {
	id   int
	rows []int
}

// clusters compares the mean of the unit gradients of each cluster's rows with the subtasks
// from lo to hi (exclusive), for as many clusters at a time as their sums fit into memory. A
// cluster without a gradient is left out.
func (c *scan) clusters(ctx context.Context, key string, all []clusterOf, lo, hi int, emit func(id int, cosines []float32)) error {
	t, err := c.newTargets(ctx, lo, hi, c.evalMean)
	if err != nil {
		return err
	}
	defer t.close()
	c.addError(t, 1, lo)
	store, err := feature.OpenStore(ctx, c.run.Ranks, filepath.Join(c.dir, "features"), key, len(all), t.n)
	if err != nil {
		return err
	}
	c.stores = append(c.stores, store)
	held := c.clustersHeld()
	for first := store.Batches() * held; first < len(all); first += held {
		if err := c.storeClusters(ctx, t, all[first:min(first+held, len(all))], first, store); err != nil {
			return fmt.Errorf("representatives of clusters: %w", err)
		}
	}
	cosines := make([]float32, t.n)
	for i, cluster := range all {
		if err := store.Row(i, cosines); err != nil {
			return err
		}
		if !slices.ContainsFunc(cosines, func(x float32) bool { return x != x }) {
			emit(cluster.id, cosines)
		}
	}
	return nil
}

// storeClusters stores the cosines of some clusters, the first of which has number first.
func (c *scan) storeClusters(ctx context.Context, t *targets, part []clusterOf, first int, store *feature.Store) error {
	var examples []data.Example
	var of []int // the cluster of each
	sums := make([][]float64, len(part))
	for i, cluster := range part {
		sums[i] = make([]float64, c.projection.Dim())
		for _, row := range cluster.rows {
			examples, of = append(examples, c.run.Train[row]), append(of, i)
		}
	}
	pass := c.pass(c.projection, c.moments, c.direction(c.moments))
	pass.Rows = c.rowsHeld()
	err := feature.Gradients(ctx, pass, examples, 0, func(rows []int, z []float32, _ []float64) error {
		dim := c.projection.Dim()
		for i, j := range rows {
			addUnit(sums[of[j]], z[i*dim:(i+1)*dim])
		}
		return nil
	})
	if err != nil {
		return err
	}
	var cosines []float32
	at := make([]int, len(part))
	for i, sum := range sums {
		x, err := t.of(sum)
		if err != nil {
			return err
		}
		at[i], cosines = first+i, append(cosines, x...)
	}
	return store.Put(at, cosines)
}

// groupKey makes a key of its own for every group's table.
func groupKey(key string, lo, hi, of int) string {
	if lo == 0 && hi == of {
		return key
	}
	return keyWith(key, fmt.Sprintf("subtasks %d to %d", lo, hi))
}

// keyWith returns a key that depends on key and more.
func keyWith(key, more string) string {
	h := sha256.Sum256([]byte(key + " " + more))
	return hex.EncodeToString(h[:])
}

// addError adds the projection's error in weight times a cosine: for a random matrix with dim
// columns the error of ⟨γ, t⟩ is at most |γ||t|/√dim (package gradproj), with γ of length 1.
func (c *scan) addError(t *targets, weight float64, lo int) {
	if c.squaredError == nil {
		c.squaredError = make([]float64, len(c.tasks))
	}
	for i, length := range t.lengths {
		c.squaredError[lo+i] += weight * weight * length * length / float64(c.projection.Dim())
	}
}

// end removes the tables after the selection, or keeps them for a later run if it failed.
func (c *scan) end(err error) error {
	for _, s := range c.stores {
		if err != nil {
			err = errors.Join(err, s.Close())
		} else if e := s.Remove(); e != nil {
			return e
		}
	}
	return err
}

// projectionFacts returns the spread of the scores and, where there is a projection, its expected error,
// and warns where the error is as large as the spread.
func (c *scan) projectionFacts(score []float64) map[string]any {
	spread := deviation(score)
	if c.exact() {
		return map[string]any{"score_spread": spread}
	}
	var worst float64
	for _, e := range c.squaredError {
		worst = max(worst, math.Sqrt(e))
	}
	kind, dim := string(c.projection.Kind()), c.projection.Dim()
	args := []any{"projection", kind, "proj_dim", dim, "projection_error", worst, "score_spread", spread}
	if worst > spread/2 {
		c.run.Log.Warn(c.name+": the projection's expected error exceeds half of the spread of the scores, so that it affects which rows are chosen; set projection: none to compare unprojected gradients, or raise proj_dim", args...)
	} else {
		c.run.Log.Info(c.name+": the projection's expected error and the spread of the scores", args...)
	}
	return map[string]any{"projection": kind, "proj_dim": dim, "projection_error": worst, "score_spread": spread}
}

// deviation is the standard deviation of the scores that are not NaN.
func deviation(score []float64) float64 {
	var n, sum, square float64
	for _, x := range score {
		if !math.IsNaN(x) {
			n, sum = n+1, sum+x
		}
	}
	for _, x := range score {
		if !math.IsNaN(x) {
			square += (x - sum/n) * (x - sum/n)
		}
	}
	return math.Sqrt(square / max(n, 1))
}

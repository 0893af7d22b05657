package selector

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gradproj"
)

// meanOf computes the mean of the unit features of a subtask's evaluation rows.
type meanOf func(ctx context.Context, task int) ([]float64, error)

// targets are the means of some subtasks: the mean cosine of a row with a subtask's rows is the
// inner product of its unit feature with their mean.
type targets struct {
	dev       driver.Device
	features  *gradproj.Projection // of the rows to compare
	projected [][]float64          // the means of projected features; nil if unprojected
	kept      driver.F32           // the means of unprojected gradients [n, total]
	memory    driver.Memory        // of kept
	n         int
	lengths   []float64 // of the means
}

// heldFloats limits the unprojected gradients that are held at a time while means are computed.
const heldFloats = 1 << 26

// rowsHeld is how many unprojected gradients are held at a time.
func (s *influence) rowsHeld() int { return max(1, heldFloats/s.projection.Dim()) }

// clustersHeld is how many sums of gradients, in float64, are held at a time.
func (s *influence) clustersHeld() int { return max(1, s.rowsHeld()/2) }

// newTargets computes the means of the subtasks from lo to hi (exclusive).
func (s *influence) newTargets(ctx context.Context, lo, hi int, mean meanOf) (*targets, error) {
	t := &targets{dev: s.run.Device, features: s.projection, n: hi - lo}
	dim := s.projection.Dim()
	if s.exact() {
		m, err := s.run.Device.Alloc(4 * t.n * dim)
		if err != nil {
			return nil, fmt.Errorf("mean gradients of %d subtasks: %w", t.n, err)
		}
		t.memory, t.kept = m, driver.View[float32](m)
	}
	for i := range t.n {
		v, err := mean(ctx, lo+i)
		if err == nil {
			err = t.put(i, v)
		}
		if err != nil {
			t.close()
			return nil, err
		}
	}
	if !s.exact() {
		return t, nil
	}
	var err error
	if t.features, err = gradproj.New(gradproj.Inner, t.n, 0, dim, gradproj.Options{Vectors: t.kept}); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *targets) put(i int, mean []float64) error {
	var square float64
	for _, x := range mean {
		square += x * x
	}
	t.lengths = append(t.lengths, math.Sqrt(square))
	if t.memory.Size() == 0 {
		t.projected = append(t.projected, mean)
		return nil
	}
	f := make([]float32, len(mean))
	for j, x := range mean {
		f[j] = float32(x)
	}
	return driver.Upload(t.dev, t.kept.Sub(i*len(f), (i+1)*len(f)), f)
}

func (t *targets) close() {
	if t.memory.Size() > 0 {
		t.dev.Free(t.memory)
	}
}

// cosines returns [rows, subtasks], from the output of a pass with t.features; NaN for a row
// without a gradient.
func (t *targets) cosines(z []float32, norms []float64) []float32 {
	out := make([]float32, 0, len(norms)*t.n)
	for i, length := range norms {
		if t.projected == nil {
			for _, inner := range z[i*t.n : (i+1)*t.n] {
				out = append(out, cosine(float64(inner), length))
			}
			continue
		}
		dim := t.features.Dim()
		row := z[i*dim : (i+1)*dim]
		length = norm(row)
		for _, mean := range t.projected {
			out = append(out, cosine(dot(row, mean), length))
		}
	}
	return out
}

// of returns the cosines of one vector with the means; NaN for the zero vector.
func (t *targets) of(v []float64) ([]float32, error) {
	z := make([]float32, len(v))
	for j, x := range v {
		z[j] = float32(x)
	}
	if t.projected != nil {
		return t.cosines(z, make([]float64, 1)), nil
	}
	placed, release, err := driver.Place(t.dev, z, make([]float32, t.n))
	if err != nil {
		return nil, err
	}
	defer release()
	var square float64
	t.features.Dense(t.dev, placed[0], 0, nil, placed[1], &square)
	inner, err := driver.Read(t.dev, placed[1])
	if err != nil {
		return nil, err
	}
	return t.cosines(inner, []float64{math.Sqrt(square)}), nil
}

// evalMean returns the mean of the unit features of a subtask's rows.
func (s *influence) evalMean(ctx context.Context, task int) ([]float64, error) {
	examples := make([]data.Example, len(s.tasks[task]))
	for i, j := range s.tasks[task] {
		examples[i] = s.run.Eval[j]
	}
	mean := make([]float64, s.projection.Dim())
	n := 0
	pass := s.pass(s.projection, nil, nil)
	pass.Rows = s.rowsHeld()
	err := feature.Gradients(ctx, pass, examples, 0, func(rows []int, z []float32, _ []float64) error {
		for i := range rows {
			n += addUnit(mean, z[i*len(mean):(i+1)*len(mean)])
		}
		return nil
	})
	if err == nil && n == 0 {
		err = errors.New("none has a gradient: they have no labelled tokens, or their losses are NaN or Inf")
	}
	if err != nil {
		return nil, fmt.Errorf("evaluation rows: %w", err)
	}
	for j := range mean {
		mean[j] /= float64(n)
	}
	return mean, nil
}

// addUnit adds z, normalised, to sum and returns 1; for a z that is zero or not finite it adds
// nothing and returns 0.
func addUnit(sum []float64, z []float32) int {
	length := norm(z)
	if !(length > 0) || math.IsInf(length, 0) {
		return 0
	}
	inv := 1 / max(length, 1e-12)
	for j, x := range z {
		sum[j] += float64(x) * inv
	}
	return 1
}

func cosine(inner, length float64) float32 {
	if !(length > 0) {
		return float32(math.NaN())
	}
	return float32(inner / max(length, 1e-12))
}

func dot(x []float32, y []float64) float64 {
	var s float64
	for j, v := range x {
		s += float64(v) * y[j]
	}
	return s
}

func norm(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s)
}

// fitMeans determines how many subtasks' means are held at a time: as many as fit into a
// quarter of the device's free memory, on the rank with the least of it. Each such group
// requires a pass over the pool.
func (s *influence) fitMeans() error {
	s.atOnce = len(s.tasks)
	if s.run.Outline || !s.exact() {
		return nil
	}
	attributes := s.run.Device.Attributes()
	all, err := ranks.Share(context.Background(), s.run.Ranks, "free memory", attributes.MemoryBytes-min(attributes.MemoryBytes, s.run.Device.Used()), nil)
	if err != nil || attributes.MemoryBytes == 0 {
		return err
	}
	free := slices.Min(all)
	s.atOnce = max(1, min(s.atOnce, int(free/4/s.meanBytes())))
	if groups := s.groups(); groups > 1 {
		s.run.Log.Warn(fmt.Sprintf("%s: the mean gradients of %d subtasks do not fit into a quarter of the free memory: they are computed in %d groups, and every selection takes %d passes over the pool instead of one; subtask_by: none needs a single mean, projection: rademacher shorter ones",
			s.name, len(s.tasks), groups, groups), "mean_bytes", s.meanBytes(), "free_bytes", free)
	}
	return nil
}

// groups is the number of groups of subtasks, which are compared one after another.
func (s *influence) groups() int { return (len(s.tasks) + s.atOnce - 1) / s.atOnce }

func (s *influence) meanBytes() uint64 { return 4 * uint64(s.projection.Dim()) }

// MemoryBytes is the working memory of a selection: the means, the evaluation rows' gradients
// held while they are computed, and Adam's moments in the gradient's order.
func (s *influence) MemoryBytes() uint64 {
	rows := min(s.rowsHeld(), len(s.run.Eval))
	bytes := (uint64(s.atOnce) + uint64(rows) + 2) * s.meanBytes() // 2: a mean in float64
	if s.moments != nil {
		bytes += 8 * uint64(s.projection.Total())
	}
	return bytes
}

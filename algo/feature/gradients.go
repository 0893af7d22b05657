package feature

import (
	"context"
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/progress"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gradproj"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
	"dataflex.dev/dataflex/model/tensor"
)

// Direction converts a gradient to the step that Adam would take with it (LESS, section
// 3.2); nil means the gradient itself.
type Direction struct {
	Beta1, Beta2, Eps float64
	EpsInside         bool // √(v+ε) as in princeton-nlp/LESS, instead of √v+ε
	BiasCorrection    bool // m̂ and v̂ as in the paper, instead of the raw moments
}

// GradientPass asks for the projected gradient of every example's mean loss.
type GradientPass struct {
	Pass
	Projection *gradproj.Projection
	Direction  *Direction
	Optimizer  optim.Adaptive // has the moments for Direction
	Train      bool           // dropout is on, as upstream leaves it
	Seed       uint64         // of the dropout masks, when Train
	Rows       int            // the largest number of rows in a batch, where features are large; 0 = limited by tokens only

	// Keep computes what is kept of a batch's features, equally many numbers for each row;
	// nil keeps the features. It runs on the rank that computed them: ranks only send each
	// other what is kept.
	Keep func(features []float32, norm []float64) []float32
}

// Emit receives a finished batch: the rows' positions and what is kept of their features,
// row after row. Without a Keep these are the features themselves, each Projection.Dim()
// long; NaN for a row without a labelled token. The slices are valid until it returns.
type Emit func(rows []int, features []float32, norm []float64) error

// norms returns the rows' norms. A row without labels has no gradient, although Adam's
// direction would be defined: its features and norm become NaN.
func norms(m batch.Micro, out []float32, normSq []float64) []float64 {
	norm := make([]float64, len(normSq))
	dim := len(out) / max(1, len(normSq))
	for i, s := range normSq {
		norm[i] = math.Sqrt(s)
		if m.Labelled[i] > 0 {
			continue
		}
		norm[i] = math.NaN()
		for j := i * dim; j < (i+1)*dim; j++ {
			out[j] = float32(math.NaN())
		}
	}
	return norm
}

// Gradients computes the features of the rows but for the first skip ones, batch by batch, and
// passes each batch to emit, in order; on a device that projects many samples at once, a few
// batches late. The order of the rows depends only on the examples, so that a pass can be
// continued in other batches; a row's features do not depend on its batch.
func Gradients(ctx context.Context, p GradientPass, examples []data.Example, skip int, emit Emit) error {
	if err := whole(examples); err != nil {
		return err
	}
	g, err := newGradients(p)
	if err != nil {
		return err
	}
	defer g.close()
	planned, err := g.plan(ctx, examples)
	if err != nil {
		return err
	}
	done := progress.New(p.Log, "gradients", len(examples))
	skip = min(skip, len(examples))
	batches := withoutRows(planned, skip)
	done.Skip(skip)
	finished := func(rows []int, features []float32, norm []float64) error {
		done.Add(len(rows))
		return emit(rows, features, norm)
	}
	if p.Ranks.Size() > 1 {
		return g.runOnRanks(ctx, examples, batches, finished)
	}
	g.emit = finished
	return g.run(ctx, examples, batches)
}

// withoutRows returns batches without their first rows.
func withoutRows(batches [][]int, rows int) [][]int {
	for ; rows > 0; batches = batches[1:] {
		if n := len(batches[0]); rows < n {
			return append([][]int{batches[0][rows:]}, batches[1:]...)
		}
		rows -= len(batches[0])
	}
	return batches
}

// run computes and emits batches in order.
func (g *gradients) run(ctx context.Context, examples []data.Example, batches [][]int) error {
	for _, rows := range batches {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := batch.Pack(examples, rows)
		run := g.project
		if g.rows != nil && len(rows) <= g.rows.Capacity() {
			run = g.collect
		}
		if err := run(m, rows); err != nil {
			return fmt.Errorf("gradient of %s: %w", describe(examples, rows), err)
		}
	}
	return g.flush()
}

// emitted passes what is kept of a finished batch to emit.
func (g *gradients) emitted(rows []int, features []float32, norm []float64) error {
	if g.Keep != nil {
		features = g.Keep(features, norm)
	}
	return g.emit(rows, features, norm)
}

type gradients struct {
	GradientPass
	params    []*tensor.Param
	offsets   []int
	lora      bool // every trainable parameter is the A or B of an adapter
	m, v      driver.F32
	out       driver.F32
	outMemory driver.Memory
	moments   []driver.Memory // of m and v
	emit      Emit
	back      func() // returns the gradients to the memory that they have outside of the pass

	rows    *gradproj.Rows // nil: every batch is projected separately
	pending []pending      // the batches whose gradients are in rows
}

// pending is a batch whose gradients are projected later, together with others.
type pending struct {
	micro batch.Micro
	rows  []int
}

// together is the number of samples that are projected at once on devices that gain from it,
// if a quarter of the free memory holds them: generating the random matrix takes as long as
// a product with 32 of them.
const together = 128

// whole returns an error for packed rows: Adam's direction for them is not the sum of those of
// their sequences.
func whole(examples []data.Example) error {
	for _, ex := range examples {
		if len(ex.Segments) > 2 {
			return fmt.Errorf("row %d of %s consists of %d packed sequences: per-row gradients need neat_packing: false", ex.Row, ex.Dataset, len(ex.Segments)-1)
		}
	}
	return nil
}

func (g *gradients) close() {
	if g.back != nil {
		g.back()
	}
	if g.rows != nil {
		g.rows.Close()
	}
	for _, m := range append(g.moments, g.outMemory) {
		if m.Size() > 0 {
			g.Device.Free(m)
		}
	}
}

func newGradients(p GradientPass) (*gradients, error) {
	g := &gradients{GradientPass: p, params: p.Model.Trainable()}
	total := 0
	for _, q := range g.params {
		g.offsets = append(g.offsets, total)
		total += q.Size()
	}
	inPairs := 0
	for _, pair := range p.Model.PairOffsets() {
		inPairs += pair.Rank * (pair.In + pair.Out)
	}
	g.lora = inPairs == total
	if g.lora {
		if err := g.gather(); err != nil {
			return nil, err
		}
	} else {
		var err error
		if g.back, err = p.Model.WholeGradients(); err != nil {
			return nil, err
		}
	}
	if p.Direction == nil {
		return g, nil
	}
	// The moments in the order of the flattened gradient, so that those of a pair are one
	// slice.
	for _, dst := range []*driver.F32{&g.m, &g.v} {
		mem, err := p.Device.Alloc(4 * total)
		if err != nil {
			g.close()
			return nil, fmt.Errorf("moments of the gradient pass: %w", err)
		}
		g.moments = append(g.moments, mem)
		*dst = driver.View[float32](mem)
	}
	for i, q := range g.params {
		lo, hi := g.offsets[i], g.offsets[i]+q.Size()
		if err := p.Optimizer.Moments(q, func(m, v driver.F32) error {
			reduce.Axpy(p.Device, 1, m, g.m.Sub(lo, hi)) // added to zeros
			reduce.Axpy(p.Device, 1, v, g.v.Sub(lo, hi))
			return nil
		}); err != nil {
			g.close()
			return nil, err
		}
	}
	return g, nil
}

// plan groups the rows: packed batches if per-sample gradients can be computed in one
// backward pass, otherwise one row at a time.
func (g *gradients) plan(ctx context.Context, examples []data.Example) ([][]int, error) {
	if !g.lora {
		return batch.ByLength(examples, 1), nil
	}
	batches, err := g.batches(ctx, examples)
	if err != nil || g.Rows < 1 {
		return batches, err
	}
	var out [][]int
	for _, rows := range batches {
		out = slices.AppendSeq(out, slices.Chunk(rows, g.Rows))
	}
	return out, nil
}

// gather allocates memory for the gradients of several batches, on devices that gain from
// projecting them together.
func (g *gradients) gather() error {
	row := g.Projection.RowBytes(g.Device)
	if row == 0 {
		return nil
	}
	capacity := together
	if total, used := g.Device.Attributes().MemoryBytes, g.Device.Used(); total > 0 {
		capacity = min(capacity, int((total-min(used, total))/4/uint64(row)))
	}
	if capacity < 2 {
		return nil
	}
	var err error
	g.rows, err = g.Projection.NewRows(g.Device, capacity)
	return err
}

// project runs a batch, projects its gradients and emits them.
func (g *gradients) project(m batch.Micro, rows []int) error {
	if err := g.flush(); err != nil {
		return err
	}
	out, err := g.room(len(m.Rows))
	if err != nil {
		return err
	}
	normSq := make([]float64, len(m.Rows))
	objective := decoder.Objective{Weight: m.MeanWeights(), Train: g.Train, DropoutSeed: g.Seed}
	if g.lora {
		err = g.pairs(m, objective, func(f gradproj.Factors, adam *gradproj.Adam) error {
			g.Projection.Accumulate(g.Device, f, adam, out, normSq)
			return nil
		})
	} else {
		err = g.dense(m, objective, out, normSq)
	}
	if err != nil {
		return err
	}
	features, err := driver.Read(g.Device, out)
	if err != nil {
		return err
	}
	return g.emitted(rows, features, norms(m, features, normSq))
}

// collect runs a batch and keeps its gradients until there is no room for more.
func (g *gradients) collect(m batch.Micro, rows []int) error {
	if g.rows.Len()+len(rows) > g.rows.Capacity() {
		if err := g.flush(); err != nil {
			return err
		}
	}
	objective := decoder.Objective{Weight: m.MeanWeights(), Train: g.Train, DropoutSeed: g.Seed}
	if err := g.pairs(m, objective, g.rows.Accumulate); err != nil {
		return err
	}
	g.rows.Advance(len(rows))
	g.pending = append(g.pending, pending{m, rows})
	return nil
}

// flush projects what has been collected and emits its batches.
func (g *gradients) flush() error {
	if len(g.pending) == 0 {
		return nil
	}
	n, dim := g.rows.Len(), g.Projection.Dim()
	out, err := g.room(n)
	if err != nil {
		return err
	}
	normSq := make([]float64, n)
	g.rows.Project(out, normSq)
	features, err := driver.Read(g.Device, out)
	if err != nil {
		return err
	}
	at := 0
	for _, b := range g.pending {
		k := len(b.rows)
		part := features[at*dim : (at+k)*dim]
		if err := g.emitted(b.rows, part, norms(b.micro, part, normSq[at:at+k])); err != nil {
			return err
		}
		at += k
	}
	g.pending = g.pending[:0]
	return nil
}

// room returns zeros for the features of n samples.
func (g *gradients) room(n int) (driver.F32, error) {
	dim := g.Projection.Dim()
	if g.out.Len() < n*dim {
		if g.outMemory.Size() > 0 {
			g.Device.Free(g.outMemory)
			g.outMemory, g.out = driver.Memory{}, driver.F32{} // so that it is not freed again if the allocation fails
		}
		mem, err := g.Device.Alloc(4 * n * dim)
		if err != nil {
			return driver.F32{}, err
		}
		g.outMemory, g.out = mem, driver.View[float32](mem)
	}
	out := g.out.Sub(0, n*dim)
	reduce.Fill(g.Device, 0, out)
	return out, nil
}

// pairs passes the factors of every LoRA pair to take as backward reaches it. The segments
// of a batch are its rows: packed rows have been refused.
func (g *gradients) pairs(m batch.Micro, o decoder.Objective, take func(gradproj.Factors, *gradproj.Adam) error) error {
	m.Batch.Segments = m.RowStart
	_, err := g.Model.PerSample(m.Batch, o, func(_ int, f gradproj.Factors) error {
		return take(f, g.adam(f.Offset, f.Rank*(f.In+f.Out)))
	})
	return err
}

// dense projects the gradient of a single row, parameter by parameter.
func (g *gradients) dense(m batch.Micro, o decoder.Objective, out driver.F32, normSq []float64) error {
	for _, q := range g.params {
		reduce.Fill(g.Device, 0, q.Grad)
	}
	if _, err := g.Model.Backward(m.Batch, o); err != nil {
		return err
	}
	for i, q := range g.params {
		g.Projection.Dense(g.Device, q.Grad, g.offsets[i], g.adam(g.offsets[i], q.Size()), out, &normSq[0])
		reduce.Fill(g.Device, 0, q.Grad)
	}
	return nil
}

func (g *gradients) adam(offset, n int) *gradproj.Adam {
	if g.Direction == nil {
		return nil
	}
	d := g.Direction
	a := &gradproj.Adam{
		Beta1: d.Beta1, Beta2: d.Beta2, Eps: d.Eps, EpsInside: d.EpsInside,
		M: g.m.Sub(offset, offset+n), V: g.v.Sub(offset, offset+n),
	}
	if d.BiasCorrection {
		a.BiasCorrection = g.Optimizer.Steps() + 1
	}
	return a
}

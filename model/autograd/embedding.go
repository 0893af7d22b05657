package autograd

import (
	"fmt"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/dora"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// Embedding are the options of Embed.
type Embedding struct {
	Scale float32 // multiplies the rows; 0 = 1
	Noisy bool    // add Part.Noise before scaling

	HasFixed bool  // Fixed is set
	Fixed    int32 // the id whose row gets no gradient (torch's padding_idx)

	LoRA   *EmbeddingLoRA // or nil
	Tokens *Tokens        // or nil
}

// EmbeddingLoRA is a low-rank adapter of a table of embeddings, E + s·(B·A)ᵀ, as PEFT's
// lora.Embedding computes it: without dropout. With DoRA the columns of the sum are scaled to
// the trained magnitudes.
type EmbeddingLoRA struct {
	A, B  *tensor.Param // [Rank, Vocab], [Hidden, Rank]
	Rank  int
	Scale float32 // s
	DoRA  *DoRA   // with a magnitude [Hidden]; nil: plain LoRA
}

// Tensors returns the adapter's parameters in the order in which PEFT registers them.
func (a *EmbeddingLoRA) Tensors() []*tensor.Param {
	if a.DoRA == nil {
		return []*tensor.Param{a.A, a.B}
	}
	return []*tensor.Param{a.A, a.B, a.DoRA.Magnitude}
}

// noiseStream is the random stream of Part.Noise; the masks of adapters use streams 0, 1, ….
const noiseStream = 1<<32 - 1

// Embed records out[t] = (table[ids[t]] + noise)·scale. table is [Vocab, Hidden], out
// [len(ids), Hidden].
func (t *Tape) Embed(table *tensor.Param, ids []int32, e Embedding) *Value {
	if t.err != nil {
		return nil
	}
	out := t.value(len(ids), table.Shape[1], table.Trainable() || e.LoRA != nil || e.Tokens != nil)
	if out == nil {
		return nil
	}
	table.Rows(t.dev, ids, out.Data())
	var kept adapted
	if e.LoRA != nil {
		if kept = t.adaptRows(table, e.LoRA, ids, out); t.err != nil {
			return nil
		}
	}
	if e.Noisy {
		t.noise(out)
	}
	t.scale(e.Scale, out.data)
	if n := t.record(opEmbed, out); n != nil {
		n.weight, n.ids, n.embedding = table, ids, e
		n.save(kept.a, kept.z, kept.scale, kept.inverse)
	}
	kept.release(t)
	return out
}

// adapted holds what the VJP of an adapted table reads.
type adapted struct {
	a              *buffer // the tokens' columns of A, transposed [T, Rank]
	z              *buffer // the sum before DoRA scales it [T, Hidden]; nil without DoRA
	scale, inverse *buffer // magnitude/norm and 1/norm of the columns [Hidden]; nil without DoRA
}

func (k adapted) release(t *Tape) {
	for _, b := range []*buffer{k.a, k.z, k.scale, k.inverse} {
		t.release(b)
	}
}

// adaptRows adds the adapter's contribution to the looked-up rows in out.
func (t *Tape) adaptRows(table *tensor.Param, a *EmbeddingLoRA, ids []int32, out *Value) (k adapted) {
	r, d := a.Rank, out.Cols
	columns := t.transposed(a)
	k.a = t.buffer(len(ids) * r)
	if t.err != nil {
		return k
	}
	embed.Forward(t.dev, columns.mem, ids, k.a.mem, r)
	sum := out.data
	if a.DoRA != nil {
		if k.z = t.buffer(len(ids) * d); t.err != nil {
			return k
		}
		reduce.Fill(t.dev, 0, k.z.mem)
		reduce.Add(t.dev, k.z.mem, out.Data())
		sum = k.z
	}
	gemm.Run(t.dev, gemm.NT, a.Scale, gemm.Dense(k.a.mem, len(ids), r), gemm.Dense(a.B.Data, d, r), 1, gemm.Dense(sum.mem, len(ids), d))
	if a.DoRA != nil {
		if k.scale, k.inverse = t.columnScales(table, a, columns); t.err == nil {
			dora.Scale(t.dev, k.z.mem, k.scale.mem, 0, out.Data())
		}
	}
	t.release(columns)
	return k
}

// transposed computes Aᵀ [Vocab, Rank]. It is a product with the identity matrix, which is
// exact.
func (t *Tape) transposed(a *EmbeddingLoRA) *buffer {
	vocab, r := a.A.Shape[1], a.Rank
	one, columns := t.identity(r), t.buffer(vocab*r)
	if t.err != nil {
		return nil
	}
	gemm.Run(t.dev, gemm.TN, 1, gemm.Dense(a.A.Data, r, vocab), gemm.Dense(one.mem, r, r), 0, gemm.Dense(columns.mem, vocab, r))
	t.release(one)
	return columns
}

// identity returns the identity matrix [n, n].
func (t *Tape) identity(n int) *buffer {
	b := t.buffer(n * n)
	if b == nil {
		return nil
	}
	x := make([]float32, n*n)
	for i := range n {
		x[i*n+i] = 1
	}
	if err := driver.Upload(t.dev, b.mem, x); err != nil {
		t.fail(err)
	}
	return b
}

// columnScales computes magnitude/norm and 1/norm of the columns of E + s·(B·A)ᵀ. These are the
// rows of Eᵀ + s·B·A, so kernels/dora treats them as those of a linear layer.
func (t *Tape) columnScales(table *tensor.Param, a *EmbeddingLoRA, columns *buffer) (scale, inverse *buffer) {
	vocab, d, r := table.Shape[0], table.Shape[1], a.Rank
	squares, err := a.DoRA.measureColumns(t.dev, table)
	if err != nil {
		t.fail(fmt.Errorf("the norms of the columns of %s: %w", table.Name, err))
		return nil, nil
	}
	scale, inverse = t.buffer(d), t.buffer(d)
	cross, gram := t.buffer(d*r), t.buffer(r*r)
	if t.err != nil {
		return nil, nil
	}
	down := gemm.Dense(a.A.Data, r, vocab)
	if table.Data.IsNil() {
		half := t.bf16Buffer(vocab * padded(r))
		if half == nil {
			return nil, nil
		}
		narrow := half.bf16(vocab * padded(r))
		cast.NarrowRows(t.dev, 1, vocab, r, columns.mem, narrow, padded(r))
		gemm.RunBF16(t.dev, gemm.TN, 1, gemm.Dense(table.BF16(), vocab, d), gemm.Strided(narrow, vocab, r, padded(r)), 0, gemm.Dense(cross.mem, d, r))
		t.release(half)
	} else {
		gemm.Run(t.dev, gemm.TN, 1, gemm.Dense(table.Data, vocab, d), gemm.Dense(columns.mem, vocab, r), 0, gemm.Dense(cross.mem, d, r))
	}
	gemm.Run(t.dev, gemm.NT, 1, down, down, 0, gemm.Dense(gram.mem, r, r))
	dora.Scales(t.dev, squares, cross.mem, a.B.Data, gram.mem, a.DoRA.Magnitude.Data, a.Scale, scale.mem, inverse.mem)
	t.release(cross)
	t.release(gram)
	return scale, inverse
}

// measureColumns is measure for the columns of a table of embeddings: their sums of squares.
func (d *DoRA) measureColumns(dev driver.Device, table *tensor.Param) (driver.F32, error) {
	if d.squares.Size() > 0 {
		return driver.View[float32](d.squares), nil
	}
	cols := table.Shape[1]
	m, err := dev.Alloc(4 * cols)
	if err != nil {
		return driver.F32{}, err
	}
	if _, counts := dev.(*plan.Device); counts {
		return driver.View[float32](m), nil
	}
	w, err := table.Read(dev)
	if err == nil {
		squares := make([]float64, cols)
		for i, x := range w {
			squares[i%cols] += float64(x) * float64(x)
		}
		err = driver.Write(dev, driver.View[float32](m), func(to []float32) error {
			for j, s := range squares {
				to[j] = float32(s)
			}
			return nil
		})
	}
	if err != nil {
		dev.Free(m)
		return driver.F32{}, err
	}
	d.squares = m
	return driver.View[float32](m), nil
}

func embedVJP(t *Tape, n *node) error {
	e, d := n.embedding, n.out.Cols
	if t.ownGrad(n.out); t.err != nil {
		return t.err
	}
	t.scale(e.Scale, n.out.grad)
	if e.LoRA != nil {
		t.adaptRowsVJP(n)
	}
	if !n.weight.Trainable() && e.Tokens == nil {
		return t.err
	}
	t.clearFixed(e, n.ids, n.out.grad.mem, d)
	if e.Tokens != nil {
		t.tokensVJP(e.Tokens, n)
	}
	if n.weight.Trainable() {
		for _, p := range t.parts(n.out.Rows) {
			embed.Backward(t.dev, p.of(n.out.grad.mem, d), n.ids[p.From:p.To], n.weight.Grad, d)
		}
	}
	return t.err
}

// clearFixed sets those rows of x [T, d] to zero whose token is e.Fixed.
func (t *Tape) clearFixed(e Embedding, ids []int32, x driver.F32, d int) {
	for i, id := range ids {
		if e.HasFixed && id == e.Fixed {
			reduce.Fill(t.dev, 0, x.Sub(i*d, (i+1)*d))
		}
	}
}

// adaptRowsVJP adds to the gradients of A, B and the magnitudes.
func (t *Tape) adaptRowsVJP(n *node) {
	a, e, rows, d := n.embedding.LoRA, n.embedding, n.out.Rows, n.out.Cols
	r, vocab := a.Rank, a.A.Shape[1]
	dz := n.out.grad
	if a.DoRA != nil {
		dora.Magnitude(t.dev, dz.mem, n.saved[1].mem, n.saved[3].mem, a.DoRA.Magnitude.Grad)
		if dz = t.buffer(rows * d); t.err != nil {
			return
		}
		dora.Scale(t.dev, n.out.grad.mem, n.saved[2].mem, 0, dz.mem)
		defer t.release(dz)
	}
	columns, da, one := t.buffer(rows*r), t.buffer(vocab*r), t.identity(r)
	if t.err != nil {
		return
	}
	dy := gemm.Dense(dz.mem, rows, d)
	gemm.Run(t.dev, gemm.TN, a.Scale, dy, gemm.Dense(n.saved[0].mem, rows, r), 1, gemm.Dense(a.B.Grad, d, r))
	gemm.Run(t.dev, gemm.NN, a.Scale, dy, gemm.Dense(a.B.Data, d, r), 0, gemm.Dense(columns.mem, rows, r))
	t.clearFixed(e, n.ids, columns.mem, r)
	reduce.Fill(t.dev, 0, da.mem)
	embed.Backward(t.dev, columns.mem, n.ids, da.mem, r)
	gemm.Run(t.dev, gemm.NT, 1, gemm.Dense(one.mem, r, r), gemm.Dense(da.mem, vocab, r), 1, gemm.Dense(a.A.Grad, r, vocab))
	for _, b := range []*buffer{columns, da, one} {
		t.release(b)
	}
}

// Merged returns the table with the adapter merged, E + s·(B·A)ᵀ, its columns scaled where the
// adapter is DoRA's: [Vocab, Hidden], computed on the host in float64 and rounded once.
func (a *EmbeddingLoRA) Merged(dev driver.Device, table *tensor.Param) ([]float32, error) {
	w, err := table.Read(dev)
	if err != nil {
		return nil, err
	}
	vocab, d := table.Shape[0], table.Shape[1]
	out := make([]float32, len(w))
	down, err := a.A.Read(dev)
	if err != nil {
		return nil, err
	}
	up, err := a.B.Read(dev)
	if err != nil {
		return nil, err
	}
	for v := range vocab {
		for j := range d {
			var s float64
			for k := range a.Rank {
				s += float64(up[j*a.Rank+k]) * float64(down[k*vocab+v])
			}
			out[v*d+j] = float32(float64(w[v*d+j]) + float64(a.Scale)*s)
		}
	}
	if a.DoRA == nil {
		return out, nil
	}
	magnitude, err := a.DoRA.Magnitude.Read(dev)
	if err != nil {
		return nil, err
	}
	ScaleColumns(out, magnitude)
	return out, nil
}

// ScaleColumns scales the columns of w [rows, len(m)] to the norms m, as merging a DoRA adapter
// of a table of embeddings does.
func ScaleColumns(w, m []float32) {
	squares := make([]float64, len(m))
	for i, x := range w {
		squares[i%len(m)] += float64(x) * float64(x)
	}
	for i := range w {
		j := i % len(m)
		w[i] *= float32(float64(m[j]) / math.Sqrt(squares[j]))
	}
}

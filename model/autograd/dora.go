package autograd

import (
	"math"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/kernels/dora"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/model/tensor"
)

// DoRA scales every output of an adapted layer by a trained magnitude divided by the norm of
// the adapted weight's row (Liu et al. 2024, arXiv:2402.09353, section 4): y = scale ⊙ z + b
// with z = x(W + s·B·A)ᵀ. z and its VJP are those of the layer with plain LoRA and no bias.
// The norm is treated as a constant in the gradient (section 4.3).
//
// With dropout, as in PEFT, only z sees the masked input x̃; the rest of the input passes
// through the layer's own weight without scaling:
//
//	z = x̃(W + s·B·A)ᵀ,  y = scale ⊙ z + (x - x̃)Wᵀ + b
type DoRA struct {
	Magnitude *tensor.Param // [Out]

	squares driver.Memory // of the rows of the layer's own weight, float32 [Out]
}

// measure computes the squared norms of the rows of the layer's own weight before its first
// product. They are kept, so the weight must not change while the adapter is on it. On a device
// that only counts memory nothing is kept.
func (l *Linear) measure(dev driver.Device) (driver.F32, error) {
	d := l.LoRA.DoRA
	if d.squares.Size() > 0 {
		return driver.View[float32](d.squares), nil
	}
	m, err := dev.Alloc(4 * l.Out)
	if err != nil {
		return driver.F32{}, err
	}
	squares := driver.View[float32](m)
	if err := l.Weight.Widened(dev, func(w driver.F32) { dora.RowSquares(dev, w, squares) }); err != nil {
		dev.Free(m)
		return driver.F32{}, err
	}
	if _, counts := dev.(*plan.Device); !counts {
		d.squares = m
	}
	return squares, nil
}

// AdaptedNorms computes the norms of the rows of W + s·B·A, the initial magnitudes: [Out].
func (l *Linear) AdaptedNorms(dev driver.Device) ([]float32, error) {
	w, err := l.Weight.Read(dev)
	if err != nil {
		return nil, err
	}
	w = slices.Clone(w) // Read may return the weight's own memory
	a, err := driver.Read(dev, l.LoRA.A.Data)
	if err != nil {
		return nil, err
	}
	b, err := driver.Read(dev, l.LoRA.B.Data)
	if err != nil {
		return nil, err
	}
	norms := make([]float32, l.Out)
	for o := range norms {
		row := w[o*l.In : (o+1)*l.In]
		for k, x := range b[o*l.LoRA.Rank : (o+1)*l.LoRA.Rank] {
			if x *= l.LoRA.Scale; x != 0 {
				for j, y := range a[k*l.In : (k+1)*l.In] {
					row[j] += x * y
				}
			}
		}
		var s float64
		for _, x := range row {
			s += float64(x) * float64(x)
		}
		norms[o] = float32(math.Sqrt(s))
	}
	return norms, nil
}

// Free frees the magnitude and the squared norms.
func (d *DoRA) Free(dev driver.Device) {
	d.Magnitude.Free(dev)
	if d.squares.Size() > 0 {
		dev.Free(d.squares)
		d.squares = driver.Memory{}
	}
}

// dora reports whether any of the layers has a DoRA adapter.
func (l linears) dora() bool {
	for _, lin := range l.layers {
		if lin.dora() {
			return true
		}
	}
	return false
}

func (l *Linear) dora() bool { return l.LoRA != nil && l.LoRA.DoRA != nil }

// plain returns the layer whose product is z: without bias, magnitude and dropout.
func (l *Linear) plain() *Linear {
	a := *l.LoRA
	a.DoRA, a.Dropout = nil, 0
	return &Linear{In: l.In, Out: l.Out, Weight: l.Weight, LoRA: &a}
}

// scales computes the scale and the inverse norm of every output into p.
func (t *Tape) scales(p rowsOf, l *Linear) {
	if t.err != nil {
		return
	}
	squares, err := l.measure(t.dev)
	if err != nil {
		t.fail(err)
		return
	}
	a, r := l.LoRA, l.LoRA.Rank
	down := gemm.Dense(a.A.Data, r, l.In)
	cross, gram := t.buffer(l.Out*r), t.buffer(r*r)
	if t.err != nil {
		return
	}
	if o, half := t.operand(l, down, r); t.err == nil {
		l.Weight.MultiplyLeft(t.dev, o, gemm.Dense(cross.mem, l.Out, r))
		t.release(half)
	}
	gemm.Run(t.dev, gemm.NT, 1, down, down, 0, gemm.Dense(gram.mem, r, r))
	dora.Scales(t.dev, squares, cross.mem, a.B.Data, gram.mem, a.DoRA.Magnitude.Data, a.Scale, p.scale, p.inverse)
	t.release(cross)
	t.release(gram)
}

// doraProduct is product for a layer with DoRA. It keeps z for the VJP.
func (t *Tape) doraProduct(p rowsOf, l *Linear) {
	t.scales(p, l)
	inner := p
	inner.y = p.z
	half := t.maskDoRA(&inner, l)
	t.product(inner, l.plain())
	var beta float32
	if l.Bias != nil {
		t.bias(p, l)
		beta = 1
	}
	if t.drops(l.LoRA) {
		t.unmaskedProduct(p, l, inner.x, beta)
		beta = 1
	}
	if t.err != nil {
		return
	}
	dora.Scale(t.dev, p.z.Data, p.scale, beta, p.y.Data)
	t.release(half)
}

// maskDoRA replaces p's input by dropout(x), if this pass applies dropout. It returns the
// buffer of the bf16 copy, if the layer multiplies in bf16.
func (t *Tape) maskDoRA(p *rowsOf, l *Linear) (half *buffer) {
	if !t.drops(l.LoRA) || t.err != nil {
		return nil
	}
	t.mask(l.LoRA, p.rows, l.In, p.x.Data, p.masked.Data, false)
	p.x = p.masked
	o, half := t.operand(l, p.x, p.most)
	p.xHalf = o.BF16
	return half
}

// unmaskedProduct computes y = (x - masked)Wᵀ + beta·y.
func (t *Tape) unmaskedProduct(p rowsOf, l *Linear, masked gemm.F32, beta float32) {
	rest := t.buffer(p.most * l.In)
	if t.err != nil {
		return
	}
	x := rest.mem.Sub(0, p.rows*l.In)
	reduce.Fill(t.dev, 0, x)
	reduce.Axpy(t.dev, 1, p.x.Data, x)
	reduce.Axpy(t.dev, -1, masked.Data, x)
	if o, half := t.operand(l, gemm.Dense(x, p.rows, l.In), p.most); t.err == nil {
		l.Weight.Multiply(t.dev, gemm.NT, 1, o, beta, p.y)
		t.release(half)
	}
	t.release(rest)
}

// doraVJP is productVJP for a layer with DoRA, except for the bias: dz = scale ⊙ dy is
// propagated through the plain layer.
func (t *Tape) doraVJP(p rowsOf, l *Linear, beta float32, segments []int32) error {
	if m := l.LoRA.DoRA.Magnitude; m.Trainable() {
		for _, part := range t.parts(p.rows) {
			dora.Magnitude(t.dev, part.of(p.y.Data, l.Out), part.of(p.z.Data, l.Out), p.inverse, m.Grad)
		}
	}
	dz := t.buffer(p.most * l.Out)
	if t.err != nil {
		return t.err
	}
	inner := p
	inner.y = gemm.Dense(dz.mem.Sub(0, p.rows*l.Out), p.rows, l.Out)
	dora.Scale(t.dev, p.y.Data, p.scale, 0, inner.y.Data)
	o, half := t.operand(l, inner.y, p.most)
	if inner.yHalf = o.BF16; t.err != nil {
		return t.err
	}
	if !t.drops(l.LoRA) {
		err := t.productVJP(inner, l.plain(), beta, segments)
		t.release(dz)
		t.release(half)
		return err
	}
	masked := t.maskDoRA(&inner, l)
	if inner.dx = p.dMasked; p.dx.Data.IsNil() {
		inner.dx = gemm.F32{}
	}
	if err := t.productVJP(inner, l.plain(), 0, segments); err != nil {
		return err
	}
	if !p.dx.Data.IsNil() {
		t.unmaskedVJP(p, l, beta)
	}
	for _, b := range []*buffer{dz, half, masked} {
		t.release(b)
	}
	return t.err
}

// unmaskedVJP computes dx = beta·dx + dyW + mask(dMasked - dyW).
func (t *Tape) unmaskedVJP(p rowsOf, l *Linear, beta float32) {
	for _, part := range []struct {
		alpha, beta float32
		dx          gemm.F32
	}{{-1, 1, p.dMasked}, {1, beta, p.dx}} {
		l.Weight.Multiply(t.dev, gemm.NN, part.alpha, p.output(), part.beta, part.dx)
	}
	t.mask(l.LoRA, p.rows, l.In, p.dMasked.Data, p.dx.Data, true)
}

package autograd

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/columns"
)

// A tape with Half keeps values and their gradients in bf16 where an op has kernels for it:
// linear layers, RMSNorm, rotary embeddings, attention, gated MLPs and residuals, as torch's
// autocast does. Other ops read and write float32. A value exists in one form or in both; it is
// converted when an op needs the other form.
//
// The sum of a residual is not computed when it is recorded: the norm that reads it computes it
// in the same launch (addition).

// addition is the pending sum x + scale·y of a residual in bf16.
type addition struct {
	x, y  *buffer
	scale float32
}

// floats returns v in float32, converted if necessary; nil after an error.
func (t *Tape) floats(v *Value) *buffer {
	if v.data == nil && t.err == nil {
		half := t.narrowed(v)
		if b := t.buffer(v.Rows * v.Cols); b != nil && half != nil {
			cast.Widen(t.dev, half.bf16(v.Rows*v.Cols), b.mem)
			v.data = b
		}
	}
	return v.data
}

// narrowed returns v in bf16, converted (rounded to nearest even) or summed if necessary; nil
// after an error. It is released with v.
func (t *Tape) narrowed(v *Value) *buffer {
	n := v.Rows * v.Cols
	switch {
	case v.half != nil || t.err != nil:
	case v.sum != nil:
		s := t.take(v)
		if into := t.reuseOrNew(n, s.y, s.x); into != nil {
			cast.Sum(t.dev, s.x.bf16(n), s.y.bf16(n), s.scale, into.bf16(n))
			v.half = into
		}
		t.release(s.x)
		t.release(s.y)
	default:
		v.half = t.narrow(v.data, n)
	}
	return v.half
}

// take removes v's pending sum and returns it.
func (t *Tape) take(v *Value) *addition {
	s := v.sum
	v.sum = nil
	return s
}

// reuseOrNew returns memory for n bf16 numbers: the first of buffers that has no other owner, with
// one more reference, or a new buffer.
func (t *Tape) reuseOrNew(n int, buffers ...*buffer) *buffer {
	for _, b := range buffers {
		if b.refs == 1 {
			b.refs++
			return b
		}
	}
	return t.bf16Buffer(n)
}

// drop releases both forms of v.
func (t *Tape) drop(v *Value) {
	t.release(v.data)
	t.release(v.half)
	if v.sum != nil {
		t.release(v.sum.x)
		t.release(v.sum.y)
	}
	v.data, v.half, v.sum = nil, nil, nil
}

// keep returns the form of x that a node should save for its VJP: float32 if it exists,
// otherwise bf16.
func (t *Tape) keep(x *Value) (data, half *buffer) {
	if x.sum != nil {
		t.narrowed(x)
	}
	if x.data != nil {
		return x.data, nil
	}
	return nil, x.half
}

// halfValue returns a new output in bf16 with memory of its own; nil after an error.
func (t *Tape) halfValue(rows, cols int, needsGrad bool) *Value {
	v := t.alias(rows, cols, needsGrad, nil)
	if v.half = t.bf16Buffer(rows * cols); v.half == nil {
		return nil
	}
	return v
}

// inHalf reports whether all values can be read in bf16 without rounding any of them.
func (t *Tape) inHalf(values ...*Value) bool {
	for _, v := range values {
		if !t.keepsHalf() || v.half == nil && v.sum == nil {
			return false
		}
	}
	return true
}

// slice returns v in bf16.
func (t *Tape) slice(v *Value) driver.Slice[driver.BF16] {
	half := t.narrowed(v)
	if half == nil {
		return driver.Slice[driver.BF16]{}
	}
	return half.bf16(v.Rows * v.Cols)
}

// widenGrad converts v's gradient to float32.
func (t *Tape) widenGrad(v *Value) {
	if v.halfGrad == nil || t.err != nil {
		return
	}
	n := v.Rows * v.Cols
	if b := t.buffer(n); b != nil {
		cast.Widen(t.dev, v.halfGrad.bf16(n), b.mem)
		t.release(v.halfGrad)
		v.grad, v.halfGrad = b, nil
	}
}

// narrowGrad converts v's gradient to bf16.
func (t *Tape) narrowGrad(v *Value) {
	if v.grad == nil || t.err != nil {
		return
	}
	if v.halfGrad = t.narrow(v.grad, v.Rows*v.Cols); v.halfGrad != nil {
		t.release(v.grad)
		v.grad = nil
	}
}

// addGradHalf is addGrad for a gradient in bf16.
func (t *Tape) addGradHalf(v *Value, b *buffer) {
	n := v.Rows * v.Cols
	switch {
	case t.err != nil:
	case !v.needsGrad:
		t.release(b)
	case v.grad != nil:
		if wide := t.buffer(n); wide != nil {
			cast.Widen(t.dev, b.bf16(n), wide.mem)
			t.release(b)
			t.addGrad(v, wide)
		}
	case v.halfGrad == nil:
		v.halfGrad = b
	default:
		into := t.reuseOrNew(n, b, v.halfGrad)
		if into == nil {
			return
		}
		cast.Sum(t.dev, v.halfGrad.bf16(n), b.bf16(n), 1, into.bf16(n))
		t.release(b)
		t.release(v.halfGrad)
		v.halfGrad = into
	}
}

// ownGradHalf copies v's bf16 gradient if other values share its buffer, so that it can be written.
func (t *Tape) ownGradHalf(v *Value) {
	g := v.halfGrad
	if g.refs == 1 || t.err != nil {
		return
	}
	if own := t.buffer(g.mem.Len()); own != nil {
		columns.Take(t.dev, g.mem, g.mem.Len(), 0, own.mem, g.mem.Len()) // a copy
		t.release(g)
		v.halfGrad = own
	}
}

// keepsHalf reports whether this pass keeps values in bf16. Passes for per-sample gradients do
// not, because their factors are float32.
func (t *Tape) keepsHalf() bool { return t.Half && t.mode.Sink == nil }

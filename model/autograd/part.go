package autograd

import (
	"errors"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/dropout"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/model/tensor"
)

// Part is one of the micro-batches that a pass holds. What hangs on a micro-batch as a whole
// is each one's own: the masks, the noise, and every sum over tokens, which gradients get one
// after the other. So a pass of several has the bits of several passes, as long as its values
// have a row a token; experts' rows and those of an adapted head have not.
type Part struct {
	From, To    int     // tokens of the pass
	DropoutSeed uint64  // with the adapter's number, the key of its masks; the noise's key
	Noise       float32 // uniform in ±Noise is added to embeddings that are Noisy; 0 = none
}

// parts are the pass's micro-batches, among the rows of a value.
func (t *Tape) parts(rows int) []Part {
	list := t.mode.Parts
	switch n := len(list); {
	case n == 0:
		t.whole[0] = Part{To: rows}
	case n == 1:
		t.whole[0] = list[0]
		t.whole[0].From, t.whole[0].To = 0, rows
	case list[n-1].To != rows:
		t.fail(errors.New("a pass of several micro-batches over values without a row for every token"))
		return nil
	default:
		return list
	}
	return t.whole[:]
}

// partsIf are the pass's micro-batches where a sum over them is wanted, and otherwise all
// rows at once.
func (t *Tape) partsIf(wanted bool, rows int) []Part {
	if wanted {
		return t.parts(rows)
	}
	t.whole[0] = Part{To: rows}
	return t.whole[:]
}

// of is the part's rows of a matrix with so many rows for every token; nil of nil.
func (p Part) of(x driver.F32, width int) driver.F32 {
	if x.IsNil() {
		return x
	}
	return x.Sub(p.From*width, p.To*width)
}

// rows are the part's of a matrix; nil of nil.
func (p Part) rows(x gemm.F32) gemm.F32 {
	if x.IsNil() {
		return x
	}
	return x.Sub(p.From, p.To)
}

// half is rows of a bf16 matrix.
func (p Part) half(x gemm.BF16) gemm.BF16 {
	if x.IsNil() {
		return x
	}
	return x.Sub(p.From, p.To)
}

// operand is rows of either.
func (p Part) operand(o tensor.Operand) tensor.Operand {
	return tensor.Operand{F32: p.rows(o.F32), BF16: p.half(o.BF16)}
}

// mask is dropout.Mask by a's mask of every micro-batch.
func (t *Tape) mask(a *LoRA, rows, cols int, src, dst driver.F32, add bool) {
	for _, p := range t.parts(rows) {
		key := dropout.Key{Seed: p.DropoutSeed, Stream: uint32(a.Pair)}
		dropout.Mask(t.dev, key, a.Dropout, p.To-p.From, cols, p.of(src, cols), p.of(dst, cols), add)
	}
}

// noise adds every micro-batch's noise to x.
func (t *Tape) noise(x *Value) {
	for _, p := range t.parts(x.Rows) {
		if p.Noise != 0 {
			key := dropout.Key{Seed: p.DropoutSeed, Stream: noiseStream}
			dropout.Noise(t.dev, key, p.Noise, p.To-p.From, x.Cols, p.of(x.Data(), x.Cols))
		}
	}
}

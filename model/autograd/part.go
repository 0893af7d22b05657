package autograd

import (
	"errors"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/dropout"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/model/tensor"
)

// Part is one of the micro-batches that are computed together in one pass. Dropout masks, noise
// and sums over tokens stay those of one micro-batch: a parameter's gradient is the sum of one
// micro-batch's tokens after the other. So a pass over several micro-batches has the bits of
// several passes. This needs values with one row per token, which the rows of experts and of an
// adapted head are not.
type Part struct {
	From, To    int     // the tokens [From, To) of the pass
	DropoutSeed uint64  // key of the dropout masks, together with the adapter's number, and of the noise
	Noise       float32 // noise drawn uniformly from ±Noise is added to embeddings that are Noisy (NEFTune: Jain et al. 2023, arXiv:2310.05914); 0 = none
}

// parts returns the pass's micro-batches, as ranges of rows of a value.
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

// partsIf returns the pass's micro-batches if separate is set, as sums over tokens need them,
// and otherwise one part with all rows.
func (t *Tape) partsIf(separate bool, rows int) []Part {
	if separate {
		return t.parts(rows)
	}
	t.whole[0] = Part{To: rows}
	return t.whole[:]
}

// partEnds returns the row behind each of the parts.
func (t *Tape) partEnds(rows int) (ends []int) {
	for _, p := range t.parts(rows) {
		ends = append(ends, p.To)
	}
	return ends
}

// of returns the part's rows of a matrix that has width elements per token; nil if x is nil.
func (p Part) of(x driver.F32, width int) driver.F32 {
	if x.IsNil() {
		return x
	}
	return x.Sub(p.From*width, p.To*width)
}

// rows returns the part's rows of x; nil if x is nil.
func (p Part) rows(x gemm.F32) gemm.F32 {
	if x.IsNil() {
		return x
	}
	return x.Sub(p.From, p.To)
}

// half returns the part's rows of a bf16 matrix; nil if x is nil.
func (p Part) half(x gemm.BF16) gemm.BF16 {
	if x.IsNil() {
		return x
	}
	return x.Sub(p.From, p.To)
}

// operand returns the part's rows of both forms of an operand.
func (p Part) operand(o tensor.Operand) tensor.Operand {
	return tensor.Operand{F32: p.rows(o.F32), BF16: p.half(o.BF16)}
}

// mask applies a's dropout mask of every micro-batch to src; see dropout.Mask.
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

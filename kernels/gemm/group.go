package gemm

import (
	"iter"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Programmer errors of RunGroup beside those of RunBF16.
const (
	twoResults    = "gemm: a Sum has one result, in bf16 or in float32"
	unalignedHalf = "gemm: rows of a result in bf16 must begin on 16 bytes"
)

// Pair is one product of a Sum, with A and B as for RunBF16.
type Pair struct{ A, B BF16 }

// Sum is a sum of products of bf16 matrices, which are exact; sums are float32:
//
//	C = Alpha (op(A0) op(B0) + op(A1) op(B1) + …) + Bias
type Sum struct {
	Pairs []Pair     // the sum's steps are theirs, in this order; at least one, with at least one step
	Alpha float32    //
	Bias  driver.F32 // [n], added to every row; nil = none

	// C [m, n] is Half, rounded to nearest even; or F32, to which the sum is added if Add.
	Half BF16
	F32  F32
	Add  bool
}

// RunGroup computes several sums in one launch. Their results must not overlap, nor a result
// a factor. A row's bits depend neither on the other rows nor on the other sums.
//
// On the host the sums are computed one after the other as by RunBF16.
func RunGroup(dev driver.Device, tr Transpose, sums []Sum) {
	for i := range sums {
		sums[i].check(tr)
	}
	dispatch.Run(dev, "gemm.RunGroup", func(c *cpu.Device) {
		for i := range sums {
			sums[i].runCPU(c, tr)
		}
	}, func(c driver.Launcher) {
		for part := range split(sums) {
			runGroupPTX(c, tr, part)
		}
	})
}

func (s *Sum) check(tr Transpose) {
	if s.Half.IsNil() == s.F32.IsNil() || s.Add && s.F32.IsNil() {
		panic(twoResults)
	}
	if s.Half.Data.Addr()%16 != 0 || s.Half.Ld%8 != 0 {
		panic(unalignedHalf)
	}
	steps := 0
	for _, p := range s.Pairs {
		if s.Half.IsNil() {
			steps += depth(tr, p.A, p.B, 0, s.F32)
		} else {
			steps += depth(tr, p.A, p.B, 0, s.Half)
		}
		if (p.A.Data.Addr()|p.B.Data.Addr())%16 != 0 || (p.A.Ld|p.B.Ld)%8 != 0 {
			panic(unalignedBF16)
		}
	}
	if steps == 0 || len(s.Pairs) > maxPairs {
		panic(badDim)
	}
	if _, n := s.shape(); !s.Bias.IsNil() && s.Bias.Len() != n {
		panic(badShapes)
	}
}

// shape is that of C.
func (s *Sum) shape() (m, n int) {
	if s.Half.IsNil() {
		return s.F32.Rows, s.F32.Cols
	}
	return s.Half.Rows, s.Half.Cols
}

// split cuts sums into groups that one launch takes.
func split(sums []Sum) iter.Seq[[]Sum] {
	return func(yield func([]Sum) bool) {
		from, pairs := 0, 0
		for i := range sums {
			n := len(sums[i].Pairs)
			if i > from && (i-from == maxSums || pairs+n > maxPairs) {
				if !yield(sums[from:i]) {
					return
				}
				from, pairs = i, 0
			}
			pairs += n
		}
		if from < len(sums) {
			yield(sums[from:])
		}
	}
}

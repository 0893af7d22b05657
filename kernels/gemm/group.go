package gemm

import (
	"iter"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// The texts of RunGroup's panics, in addition to those of RunBF16.
const (
	twoResults    = "gemm: a Sum has one result, in bf16 or in float32"
	unalignedHalf = "gemm: rows of a result in bf16 must begin on 16 bytes"
)

// Pair is one product op(A) op(B) of a Sum, with the requirements of RunBF16.
type Pair struct{ A, B BF16 }

// Sum is a sum of products of bf16 matrices:
//
//	C[m,n] = Alpha · (op(A0) op(B0) + op(A1) op(B1) + …) + Bias
//
// Products of two bf16 numbers are exact in float32, in which they are summed, one Pair after
// the other.
type Sum struct {
	Pairs []Pair // at least one, and k > 0 in at least one of them
	Alpha float32
	Bias  driver.F32 // [n], added to every row; nil = none

	// Exactly one of them is C: Half is overwritten, rounded to nearest even, and its rows start
	// on 16 bytes; F32 is overwritten, or accumulated to if Add is set.
	Half BF16
	F32  F32
	Add  bool
}

// RunGroup computes several sums in one launch. A result must not overlap another result or an
// operand. The bits of a row depend neither on the other rows nor on the other sums.
//
// On the host the sums are computed one after the other, as RunBF16 computes them.
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

// shape returns the shape of C.
func (s *Sum) shape() (m, n int) {
	if s.Half.IsNil() {
		return s.F32.Rows, s.F32.Cols
	}
	return s.Half.Rows, s.Half.Cols
}

// split divides sums into groups that fit one launch.
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

package swiglu

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// pieces calls f with ranges of at most piece elements out of n, on all threads.
func pieces(c *cpu.Device, n int, f func(lo, hi int)) {
	c.Parallel((n+block-1)/block, func(b int) {
		for lo := b * block; lo < min(n, (b+1)*block); lo += piece {
			f(lo, min(n, lo+piece))
		}
	})
}

func (p Pointwise) forwardCPU(c *cpu.Device, x, out []float32) {
	pieces(c, len(x), func(lo, hi int) {
		var room [piece]float32
		x, out, s := x[lo:hi], out[lo:hi], room[:hi-lo]
		switch p.Function {
		case SquaredReLU:
			for i, z := range x {
				z = max(z, 0)
				out[i] = z * z
			}
		case Clamp:
			for i, z := range x {
				out[i] = min(max(z, -p.Bound), p.Bound)
			}
		case ExactGELU:
			bell(s, x)
			for i, z := range x {
				out[i] = z * cumulative(z, s[i])
			}
		case ApproximateGELU:
			geluSigmoid(s, x)
			simd.Mul(out, s, x)
		}
	})
}

func (p Pointwise) backwardCPU(c *cpu.Device, dout, x, dx []float32) {
	pieces(c, len(x), func(lo, hi int) {
		var room [piece]float32
		slope := room[:hi-lo]
		p.slopes(slope, x[lo:hi])
		simd.Mul(dx[lo:hi], dout[lo:hi], slope)
	})
}

// slopes are f'(x), at most piece of them.
func (p Pointwise) slopes(slope, x []float32) {
	switch p.Function {
	case SquaredReLU:
		for i, z := range x {
			slope[i] = 2 * max(z, 0)
		}
	case Clamp:
		for i, z := range x {
			slope[i] = 0
			if -p.Bound <= z && z <= p.Bound {
				slope[i] = 1
			}
		}
	case ExactGELU:
		bell(slope, x)
		for i, z := range x {
			slope[i] = cumulative(z, slope[i]) + bellHeight*z*slope[i]
		}
	case ApproximateGELU:
		var room [piece]float32
		rest := room[:len(x)]
		geluSigmoids(slope, rest, x)
		for i, s := range slope {
			slope[i] = s * (1 + geluBend(s, rest[i], x[i]))
		}
	}
}

const bellHeight = 0.3989422804014327 // 1/√(2π)

// bell is exp(−z²/2).
func bell(dst, x []float32) {
	for i, z := range x {
		dst[i] = -0.5 * z * z
	}
	simd.Exp(dst, dst)
}

// cumulative is Φ(z), with e = exp(−z²/2): e·½erfcx(|z|/√2) is the tail beyond |z|, and
// ½erfcx a polynomial in 1/(1+|z|/K), K = 2.5·√2, interpolated at Chebyshev's nodes
// (relative error 4e-10 before rounding up to |z| = 10, where e is 0).
func cumulative(z, e float32) float32 {
	const k = 3.5355339059327378
	q := k / (k + float32(math.Abs(float64(z))))
	p := float32(-0.0213506091)
	for _, c := range tail {
		p = p*q + c
	}
	if z < 0 {
		return e * p
	}
	return 1 - e*p
}

var tail = [...]float32{
	0.137180105, -0.3469854, 0.417651653, -0.277662992, 0.220953733, 0.0289789718, 0.117526256, 0.110678762, 0.113037765, -8.25019833e-06,
}

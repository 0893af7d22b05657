package swiglu

import (
	"iter"
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

const (
	block = 4096 // elements a task takes
	piece = 512  // elements whose intermediate values stay in the first-level cache

	geluCube = 0.044715
)

// geluScale is 2√(2/π): GELUTanh's argument to σ is geluScale·(z + geluCube·z³).
var geluScale = float32(2 * math.Sqrt(2/math.Pi))

// intermediates are the values of a piece on their way, which stay in the first-level cache.
type intermediates struct{ sigmoid, rest, out, other [piece]float32 }

var workspaces = scratch.NewPool[intermediates](128)

// piecesOf yields the bounds of the pieces of block b of n elements.
func piecesOf(b, n int) iter.Seq2[int, int] {
	return func(yield func(lo, hi int) bool) {
		for lo := b * block; lo < min(n, (b+1)*block); lo += piece {
			if !yield(lo, min(n, lo+piece)) {
				return
			}
		}
	}
}

func blocks(n int) int { return (n + block - 1) / block }

func forwardCPU(c *cpu.Device, act Activation, gate, up, out []float32) {
	c.Parallel(blocks(len(gate)), func(b int) {
		w := workspaces.Take()
		for lo, hi := range piecesOf(b, len(gate)) {
			forwardPiece(act, gate[lo:hi], up[lo:hi], out[lo:hi], &w.sigmoid)
		}
		workspaces.Give(w)
	})
}

func forwardPiece(act Activation, gate, up, out []float32, s *[piece]float32) {
	part := s[:len(gate)]
	switch act {
	case SiLU:
		simd.Silu(part, gate)
	case GELUTanh:
		geluSigmoid(part, gate)
		simd.Mul(part, part, gate)
	case Sigmoid:
		simd.Sigmoid(part, gate)
	case Linear:
		part = gate
	}
	simd.Mul(out, part, up)
}

func backwardCPU(c *cpu.Device, act Activation, dout, gate, up, dgate, dup []float32) {
	c.Parallel(blocks(len(gate)), func(b int) {
		w := workspaces.Take()
		for lo, hi := range piecesOf(b, len(gate)) {
			backwardPiece(act, dout[lo:hi], gate[lo:hi], up[lo:hi], dgate[lo:hi], dup[lo:hi], w)
		}
		workspaces.Give(w)
	})
}

func backwardPiece(act Activation, dout, gate, up, dgate, dup []float32, w *intermediates) {
	s := w.sigmoid[:len(gate)]
	switch act {
	case SiLU:
		simd.SiluGradients(dgate, dup, dout, gate, up)
	case Sigmoid:
		simd.Sigmoid(s, gate)
		sigmoidBackward(s, dout, up, dgate, dup)
	case Linear:
		productBackward(dout, gate, up, dgate, dup)
	case GELUTanh:
		r := w.rest[:len(gate)]
		geluSigmoids(s, r, gate)
		geluBackward(s, r, dout, gate, up, dgate, dup)
	}
}

// geluSigmoid is the factor of z in GELUTanh.
func geluSigmoid(dst, gate []float32) {
	geluArgument(dst, gate)
	simd.Sigmoid(dst, dst)
}

// geluSigmoids also gives 1 − σ = σ(−a), which 1 − σ would not give exactly.
func geluSigmoids(sigmoid, rest, gate []float32) {
	geluArgument(sigmoid, gate)
	for i, a := range sigmoid {
		rest[i] = -a
	}
	simd.Sigmoid(rest, rest)
	simd.Sigmoid(sigmoid, sigmoid)
}

func geluArgument(dst, gate []float32) {
	dst = dst[:len(gate)]
	for i, z := range gate {
		dst[i] = geluScale * z * (1 + geluCube*z*z)
	}
}

func sigmoidBackward(sigmoid, dout, up, dgate, dup []float32) {
	n := len(sigmoid)
	dout, up, dgate, dup = dout[:n], up[:n], dgate[:n], dup[:n]
	for i, s := range sigmoid {
		ds := dout[i] * s
		dgate[i], dup[i] = ds*up[i]*(1-s), ds
	}
}

func productBackward(dout, gate, up, dgate, dup []float32) {
	n := len(dout)
	gate, up, dgate, dup = gate[:n], up[:n], dgate[:n], dup[:n]
	for i, d := range dout {
		dgate[i], dup[i] = d*up[i], d*gate[i]
	}
}

func geluBackward(sigmoid, rest, dout, gate, up, dgate, dup []float32) {
	n := len(sigmoid)
	rest, dout, gate, up, dgate, dup = rest[:n], dout[:n], gate[:n], up[:n], dgate[:n], dup[:n]
	for i, s := range sigmoid {
		g, d, r := gate[i], dout[i], rest[i]
		ds := d * s
		dgate[i], dup[i] = ds*up[i]*(1+geluBend(s, r, g)), ds*g
	}
}

// geluBend is z·a'(z)·(1 − σ(a)), from σ and r = 1 − σ; 0 far out, where the slope of the
// argument may be infinite.
func geluBend(s, r, z float32) float32 {
	if s*r == 0 {
		return 0
	}
	return z * geluScale * (1 + 3*geluCube*z*z) * r
}

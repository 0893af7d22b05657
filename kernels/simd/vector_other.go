//go:build !amd64

package simd

// Only the portable versions exist here: level is always generic.

func axpy(a float32, x, y []float32)                 { axpyGeneric(a, x, y) }
func scale(a float32, x []float32)                   { scaleGeneric(a, x) }
func add(dst, x, y []float32)                        { addGeneric(dst, x, y) }
func mul(dst, x, y []float32)                        { mulGeneric(dst, x, y) }
func dot(x, y []float32) float32                     { return dotGeneric(x, y) }
func sumSquares(x []float32) float64                 { return sumSquaresGeneric(x) }
func largest(x []float32) float32                    { return maxGeneric(x) }
func exp(dst, src []float32)                         { expGeneric(dst, src) }
func expSum(dst, src []float32, max float32) float32 { return expSumGeneric(dst, src, max) }
func sigmoid(dst, x []float32)                       { sigmoidGeneric(dst, x) }
func silu(dst, x []float32)                          { siluGeneric(dst, x) }
func siluGradients(dgate, dup, dout, gate, up []float32) {
	siluGradientsGeneric(dgate, dup, dout, gate, up)
}

func narrow(int, *uint16, *float32) { panic("simd: no vectors here") }
func widen(int, *float32, *uint16)  { panic("simd: no vectors here") }

func expSumHalf[B ~uint16](dst []B, src []float32, factor, minus float32) (sum, rounded float32) {
	return expSumHalfGeneric(dst, src, factor, minus)
}

func softmaxGradients[B ~uint16](p, ds []B, s, dp, lse, delta []float32, factor float32) {
	softmaxGradientsGeneric(p, ds, s, dp, lse, delta, factor)
}

func rotate(sign float32, x, y, cos, sin []float32) { rotateGeneric(sign, x, y, cos, sin) }

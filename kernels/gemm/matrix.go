package gemm

import "dataflex.dev/dataflex/driver"

// Element is what factors are made of; products are float32.
type Element interface{ float32 | driver.BF16 }

// Matrix is row-major: Rows by Cols, the rows Ld elements apart.
type Matrix[T Element] struct {
	Data           driver.Slice[T]
	Rows, Cols, Ld int
}

// The two kinds of matrix.
type (
	F32  = Matrix[float32]
	BF16 = Matrix[driver.BF16]
)

// Dense is a matrix without gaps between its rows.
func Dense[T Element](data driver.Slice[T], rows, cols int) Matrix[T] {
	return Matrix[T]{data, rows, cols, cols}
}

// Strided is a matrix whose rows begin ld elements apart.
func Strided[T Element](data driver.Slice[T], rows, cols, ld int) Matrix[T] {
	return Matrix[T]{data, rows, cols, ld}
}

// OnHost is Strided on host memory.
func OnHost(data []float32, rows, cols, ld int) F32 {
	return F32{driver.FromHost(data), rows, cols, ld}
}

// Factors are the dense A and B of products tr of m x n elements in k steps.
func Factors[T Element](tr Transpose, a, b driver.Slice[T], m, n, k int) (x, y Matrix[T]) {
	x, y = Dense(a, m, k), Dense(b, k, n)
	switch tr {
	case TN:
		x = Dense(a, k, m)
	case NT:
		y = Dense(b, n, k)
	}
	return x, y
}

// Sub is rows lo to hi.
func (x Matrix[T]) Sub(lo, hi int) Matrix[T] {
	return Matrix[T]{x.Data.Sub(lo*x.Ld, min(hi*x.Ld, x.Data.Len())), hi - lo, x.Cols, x.Ld}
}

// IsNil reports whether there is no such matrix, which kernels read as "not wanted".
func (x Matrix[T]) IsNil() bool { return x.Data.IsNil() }

// extent is the number of elements from the first to the last.
func (x Matrix[T]) extent() int {
	if x.Rows == 0 || x.Cols == 0 {
		return 0
	}
	return (x.Rows-1)*x.Ld + x.Cols
}

// depth checks that the matrices make a product C = op(A) op(B) and returns the number of
// its steps; it panics if they do not match.
func depth[T, C Element](tr Transpose, a, b Matrix[T], beta float32, c Matrix[C]) (k int) {
	k = checkShapes(tr, a, b, beta, c)
	if b.Data.Len() < b.extent() {
		panic(shortB)
	}
	return k
}

// checkShapes is depth but for b's memory.
func checkShapes[T, C Element](tr Transpose, a, b Matrix[T], beta float32, c Matrix[C]) (k int) {
	m, n, kB := a.Rows, b.Cols, b.Rows
	k = a.Cols
	switch tr {
	case NN:
	case NT:
		n, kB = b.Rows, b.Cols
	case TN:
		m, k = a.Cols, a.Rows
	default:
		panic(badTranspose)
	}
	switch {
	case min(a.Rows, a.Cols, b.Rows, b.Cols, c.Rows, c.Cols) < 0:
		panic(badDim)
	case m != c.Rows || n != c.Cols || k != kB:
		panic(badShapes)
	case beta != 0 && beta != 1:
		panic(badBeta)
	case a.Ld < a.Cols:
		panic(badLda)
	case b.Ld < b.Cols:
		panic(badLdb)
	case c.Ld < c.Cols:
		panic(badLdc)
	case a.Data.Len() < a.extent():
		panic(shortA)
	case c.Data.Len() < c.extent():
		panic(shortC)
	}
	return k
}

// Package gemm multiplies float32 matrices.
//
// C[m,n] = alpha * op(A) op(B) + beta * C, all row-major; lda, ldb, ldc are the
// distances between rows in floats. beta is 0 (C is overwritten, whatever it
// held) or 1 (C is accumulated to). C must not overlap A or B.
//
// The order in which the k products of an element are added depends on k alone:
// a row of C has the same bits whatever m and n are, wherever the row stands and
// however many threads work on it. NaN and Inf propagate (0 * NaN is NaN).
package gemm

import (
	"fmt"

	"dataflex/driver"
	"dataflex/driver/cpu"
)

// Transpose says how A and B are stored.
type Transpose uint8

const (
	NN Transpose = iota // A[m,k] B[k,n]
	NT                  // A[m,k] B[n,k]
	TN                  // A[k,m] B[k,n]
)

// String is the name of the constant.
func (t Transpose) String() string {
	if t > TN {
		return fmt.Sprintf("Transpose(%d)", uint8(t))
	}
	return [...]string{"NN", "NT", "TN"}[t]
}

// Programmer errors.
const (
	badTranspose = "gemm: unknown Transpose"
	badDim       = "gemm: negative dimension"
	badBeta      = "gemm: beta is neither 0 nor 1"
	badLda       = "gemm: lda shorter than a row of A"
	badLdb       = "gemm: ldb shorter than a row of B"
	badLdc       = "gemm: ldc shorter than a row of C"
	shortA       = "gemm: A too short"
	shortB       = "gemm: B too short"
	shortC       = "gemm: C too short"
)

// Run is C = alpha op(A) op(B) + beta C on dev.
func Run(dev driver.Device, tr Transpose, m, n, k int, alpha float32, a driver.F32, lda int, b driver.F32, ldb int, beta float32, c driver.F32, ldc int) {
	switch d := dev.(type) {
	case *cpu.Device:
		check(tr, m, n, k, a.Len(), lda, b.Len(), ldb, beta, c.Len(), ldc)
		p := newProblem(tr, m, n, k, alpha, a.Host(), lda, b.Host(), ldb, beta, c.Host(), ldc)
		p.run(d)
	default:
		panic(fmt.Sprintf("gemm: no kernel for a %v device", dev.Kind()))
	}
}

// Host is Run on host memory, on the calling goroutine alone: for kernels that
// multiply inside their own parallel loops.
func Host(tr Transpose, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	check(tr, m, n, k, len(a), lda, len(b), ldb, beta, len(c), ldc)
	p := newProblem(tr, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	p.multiply(0, m, 0, n)
}

// check panics where the arguments contradict each other.
func check(tr Transpose, m, n, k, lenA, lda, lenB, ldb int, beta float32, lenC, ldc int) {
	rowsA, colsA, rowsB, colsB := m, k, k, n
	switch tr {
	case NN:
	case NT:
		rowsB, colsB = n, k
	case TN:
		rowsA, colsA = k, m
	default:
		panic(badTranspose)
	}
	switch {
	case m < 0 || n < 0 || k < 0:
		panic(badDim)
	case beta != 0 && beta != 1:
		panic(badBeta)
	case lda < colsA:
		panic(badLda)
	case ldb < colsB:
		panic(badLdb)
	case ldc < n:
		panic(badLdc)
	case lenA < extent(rowsA, colsA, lda):
		panic(shortA)
	case lenB < extent(rowsB, colsB, ldb):
		panic(shortB)
	case lenC < extent(m, n, ldc):
		panic(shortC)
	}
}

// extent is the number of floats a matrix reaches over.
func extent(rows, cols, ld int) int {
	if rows == 0 || cols == 0 {
		return 0
	}
	return (rows-1)*ld + cols
}

package gemm

import (
	"math"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
)

// matrices are the operands of one test multiplication, in rows with a gap.
type matrices struct {
	tr            Transpose
	m, n, k       int
	a, b, c       []float32
	lda, ldb, ldc int
	alpha, beta   float32
}

func randomMatrices(r *rand.Rand, tr Transpose, m, n, k int) matrices {
	x := matrices{tr: tr, m: m, n: n, k: k, alpha: 1, beta: float32(r.IntN(2))}
	if r.IntN(2) == 0 {
		x.alpha = r.Float32()*4 - 2
	}
	rowsA, colsA, rowsB, colsB := x.stored()
	x.lda, x.ldb, x.ldc = colsA+r.IntN(9), colsB+r.IntN(9), n+r.IntN(9)
	x.a, x.b, x.c = normal(r, rowsA*x.lda), normal(r, rowsB*x.ldb), normal(r, m*x.ldc)
	return x
}

// stored are the shapes as they lie in memory.
func (x matrices) stored() (rowsA, colsA, rowsB, colsB int) {
	rowsA, colsA, rowsB, colsB = x.m, x.k, x.k, x.n
	switch x.tr {
	case NT:
		rowsB, colsB = x.n, x.k
	case TN:
		rowsA, colsA = x.k, x.m
	}
	return
}

func normal(r *rand.Rand, n int) []float32 {
	s := make([]float32, n)
	for i := range s {
		s[i] = float32(r.NormFloat64())
	}
	return s
}

// a, b and c of the test as matrices; other rows may replace c's.
func (x matrices) factors() (a, b F32) {
	rowsA, colsA, rowsB, colsB := x.stored()
	return OnHost(x.a, rowsA, colsA, x.lda), OnHost(x.b, rowsB, colsB, x.ldb)
}

func (x matrices) product(c driver.F32) F32 { return Strided(c, x.m, x.n, x.ldc) }

// on is a factor of the test in other memory.
func on[T Element](x F32, data driver.Slice[T]) Matrix[T] {
	return Matrix[T]{data, x.Rows, x.Cols, x.Ld}
}

// reference is the product in float64 and in straightforward float32.
func (x matrices) reference() (exact []float64, plain []float32) {
	exact, plain = make([]float64, x.m*x.ldc), make([]float32, x.m*x.ldc)
	rowA, stepA, columnB, stepB := x.lda, 1, 1, x.ldb
	if x.tr == TN {
		rowA, stepA = 1, x.lda
	}
	if x.tr == NT {
		columnB, stepB = x.ldb, 1
	}
	for i := range x.m {
		for j := range x.n {
			var s float64
			var f float32
			for p := range x.k {
				a, b := x.a[i*rowA+p*stepA], x.b[j*columnB+p*stepB]
				s += float64(a) * float64(b)
				f += float32(a * b)
			}
			at := i*x.ldc + j
			exact[at] = float64(x.alpha) * s
			plain[at] = float32(x.alpha * f)
			if x.beta == 1 {
				exact[at] += float64(x.c[at])
				plain[at] += x.c[at]
			}
		}
	}
	return
}

// verify compares got with the reference: the largest error may be twice that of
// the straightforward float32 sum plus two roundings of the largest result, as
// that sum may be lucky where the matrix is small. What lies between the rows
// must be untouched. It returns the sums of the squared errors of both.
func (x matrices) verify(t *testing.T, got []float32) (squares, squaresPlain float64) {
	t.Helper()
	exact, plain := x.reference()
	var worst, worstPlain, scale float64
	for i := range x.m {
		for j := range x.ldc {
			at := i*x.ldc + j
			if j >= x.n {
				if got[at] != x.c[at] {
					t.Fatalf("%v %dx%dx%d: wrote past row %d", x.tr, x.m, x.n, x.k, i)
				}
				continue
			}
			e, p := math.Abs(float64(got[at])-exact[at]), math.Abs(float64(plain[at])-exact[at])
			if e != e {
				t.Fatalf("%v %dx%dx%d: NaN at %d,%d", x.tr, x.m, x.n, x.k, i, j)
			}
			worst, worstPlain, scale = max(worst, e), max(worstPlain, p), max(scale, math.Abs(exact[at]))
			squares, squaresPlain = squares+e*e, squaresPlain+p*p
		}
	}
	if worst > 2*worstPlain+scale*0x1p-23 {
		t.Fatalf("%v %dx%dx%d lda %d ldb %d ldc %d alpha %v beta %v: error %g, straightforward %g",
			x.tr, x.m, x.n, x.k, x.lda, x.ldb, x.ldc, x.alpha, x.beta, worst, worstPlain)
	}
	return squares, squaresPlain
}

// forLevels runs f at every level of this machine.
func forLevels(t *testing.T, f func(t *testing.T)) {
	now := simd.Level()
	defer simd.Force(now)
	for _, l := range simd.Levels() {
		simd.Force(l)
		t.Run(l, f)
	}
}

func (x matrices) run(dev driver.Device) []float32 {
	c := append([]float32(nil), x.c...)
	a, b := x.factors()
	Run(dev, x.tr, x.alpha, a, b, x.beta, x.product(driver.FromHost(c)))
	return c
}

func TestRandomShapes(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	forLevels(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		sizes := []int{1, 2, 3, 5, 6, 7, 8, 9, 13, 15, 16, 17, 24, 31, 32, 33, 48, 64, 97, 130}
		pick := func() int { return sizes[r.IntN(len(sizes))] }
		var squares, squaresPlain float64
		verify := func(m, n, k int) {
			x := randomMatrices(r, Transpose(r.IntN(3)), m, n, k)
			s, p := x.verify(t, x.run(dev))
			squares, squaresPlain = squares+s, squaresPlain+p
		}
		for range 400 {
			verify(pick(), pick(), pick())
		}
		for range 6 {
			verify(1+r.IntN(450), 1+r.IntN(200), 1+r.IntN(900))
		}
		ratio := math.Sqrt(squares / squaresPlain)
		if ratio > 1 {
			t.Errorf("root mean square error is %.2f times that of the straightforward sum", ratio)
		}
	})
}

// A row has the same bits alone, in a batch, and with any number of threads.
func TestBitsDoNotDependOnTheBatch(t *testing.T) {
	one, three := cpu.New(1), cpu.New(3)
	defer one.Close()
	defer three.Close()
	forLevels(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, tr := range []Transpose{NN, NT, TN} {
			for _, s := range [][3]int{{211, 331, 700}, {130, 16, 576}, {16, 200, 333}, {300, 100, 16}} {
				x := randomMatrices(r, tr, s[0], s[1], s[2])
				want := x.run(one)
				if i, ok := sameBits(want, x.run(three)); !ok {
					t.Fatalf("%v %v: element %d differs between 1 and 3 threads", tr, s, i)
				}
				for _, rows := range []int{1, 2, 5, 33} {
					x.checkPart(t, want, r.IntN(x.m-min(rows, x.m)+1), min(rows, x.m), 0, x.n)
				}
				x.checkPart(t, want, 0, x.m, 3, 9)
				x.checkPart(t, want, 7, 1, x.n-1, 1)
			}
		}
	})
}

// checkPart multiplies rows [i0, i0+m) with columns [j0, j0+n) only.
func (x matrices) checkPart(t *testing.T, want []float32, i0, m, j0, n int) {
	t.Helper()
	atA, atB := i0*x.lda, j0
	if x.tr == TN {
		atA = i0
	}
	if x.tr == NT {
		atB = j0 * x.ldb
	}
	part := x
	part.m, part.n, part.a, part.b = m, n, x.a[atA:], x.b[atB:]
	c := append([]float32(nil), x.c...)
	a, b := part.factors()
	Host(x.tr, x.alpha, a, b, x.beta, part.product(driver.FromHost(c[i0*x.ldc+j0:])))
	for i := i0; i < i0+m; i++ {
		at := i*x.ldc + j0
		if j, ok := sameBits(want[at:at+n], c[at:at+n]); !ok {
			t.Fatalf("%v %dx%dx%d: row %d column %d has other bits in a part of %d rows, %d columns", x.tr, x.m, x.n, x.k, i, j0+j, m, n)
		}
	}
}

func sameBits(a, b []float32) (int, bool) {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i, false
		}
	}
	return 0, true
}

func TestSpecialValues(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	forLevels(t, func(t *testing.T) {
		for _, tr := range []Transpose{NN, NT, TN} {
			x := randomMatrices(rand.New(rand.NewPCG(5, 6)), tr, 9, 17, 11)
			clear(x.a)
			x.alpha, x.beta = 1, 0
			for i := range x.c {
				x.c[i] = nan // beta 0 overwrites even NaN
			}
			for i, v := range x.run(dev) {
				if i%x.ldc < x.n && v != 0 {
					t.Fatalf("%v: 0 * B = %v at %d", tr, v, i)
				}
			}
			x.b[0] = inf // op(B)[0,0]: all of column 0 becomes 0*Inf
			for i, v := range x.run(dev) {
				if i%x.ldc < x.n && (v != v) != (i%x.ldc == 0) {
					t.Fatalf("%v: with an Inf in B, c[%d] = %v", tr, i, v)
				}
			}
			x.b[0], x.a[0], x.k = 1, nan, 0
			for i, v := range x.run(dev) {
				if i%x.ldc < x.n && v != 0 {
					t.Fatalf("%v: empty sum = %v", tr, v)
				}
			}
		}
	})
}

func TestArgumentsThatContradict(t *testing.T) {
	x := func(rows, cols, ld int) F32 { return OnHost(make([]float32, 100), rows, cols, ld) }
	for want, call := range map[string]func(){
		badTranspose: func() { Host(3, 1, x(2, 2, 2), x(2, 2, 2), 0, x(2, 2, 2)) },
		badDim:       func() { Host(NN, 1, x(-1, 2, 2), x(2, 2, 2), 0, x(-1, 2, 2)) },
		badBeta:      func() { Host(NN, 1, x(2, 2, 2), x(2, 2, 2), 0.5, x(2, 2, 2)) },
		badLda:       func() { Host(NN, 1, x(2, 3, 2), x(3, 2, 2), 0, x(2, 2, 2)) },
		badLdb:       func() { Host(NT, 1, x(2, 3, 3), x(2, 3, 2), 0, x(2, 2, 2)) },
		badLdc:       func() { Host(TN, 1, x(2, 2, 2), x(2, 3, 3), 0, x(2, 3, 2)) },
		shortA:       func() { Host(NN, 1, x(11, 10, 10), x(10, 2, 2), 0, x(11, 2, 2)) },
		shortB:       func() { Host(NN, 1, x(2, 10, 10), x(10, 11, 11), 0, x(2, 11, 11)) },
		shortC:       func() { Host(NN, 1, x(11, 2, 2), x(2, 10, 10), 0, x(11, 10, 10)) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("panic %v, want %q", got, want)
				}
			}()
			call()
		}()
	}
}

// TestShapesThatDoNotFit: each of m, n and k is a dimension of two matrices.
func TestShapesThatDoNotFit(t *testing.T) {
	x := func(rows, cols int) F32 { return OnHost(make([]float32, 100), rows, cols, cols) }
	fit := map[Transpose][3][2]int{NN: {{2, 4}, {4, 3}, {2, 3}}, NT: {{2, 4}, {3, 4}, {2, 3}}, TN: {{4, 2}, {4, 3}, {2, 3}}}
	for tr, shapes := range fit {
		for i := range 6 { // one of the six numbers is one more
			s := shapes
			s[i/2][i%2]++
			func() {
				defer func() {
					if got := recover(); got != badShapes {
						t.Errorf("%v %v: panic %v", tr, s, got)
					}
				}()
				Host(tr, 1, x(s[0][0], s[0][1]), x(s[1][0], s[1][1]), 0, x(s[2][0], s[2][1]))
			}()
		}
	}
}

func TestNoAllocationAfterWarmUp(t *testing.T) {
	dev := cpu.New(2)
	defer dev.Close()
	x := randomMatrices(rand.New(rand.NewPCG(7, 8)), NT, 200, 300, 400)
	a, b := x.factors()
	run := func() { Run(dev, x.tr, 1, a, b, 0, x.product(driver.FromHost(x.c))) }
	run()
	if n := testing.AllocsPerRun(20, run); n > 0 {
		t.Errorf("%v allocations per multiplication", n)
	}
}

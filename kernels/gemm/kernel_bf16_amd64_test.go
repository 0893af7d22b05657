package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/kernels/simd/asmtest"
)

const bf16File = "kernel_bf16_amd64.s"

// halves are n random bf16 numbers, with denormal ones and both zeros among them.
func halves(r *rand.Rand, n int) []uint16 {
	x := make([]uint16, n)
	for i, v := range normal(r, n) {
		x[i] = uint16(math.Float32bits(v) >> 16)
		switch r.IntN(40) {
		case 0:
			x[i] &= 0x807f // denormal
		case 1:
			x[i] &= 0x8000
		case 2:
			x[i] = x[i]&0x807f | uint16(r.IntN(30)+1)<<7 // products that are denormal
		}
	}
	return x
}

func pairsOf(x []uint16) []uint32 {
	p := make([]uint32, len(x)/2)
	for i := range p {
		p[i] = uint32(x[2*i]) | uint32(x[2*i+1])<<16
	}
	return p
}

// product is rows x columns sums in float64, and the sum of the magnitudes.
func product(rows, columns, pairs int, a []uint16, rsa int, b []uint32, panel int) (sums, magnitudes []float64) {
	value := func(h uint16) float64 {
		if h&0x7f80 == 0 {
			return 0
		}
		return float64(math.Float32frombits(uint32(h) << 16))
	}
	for i := range rows {
		for j := range columns {
			var s, m float64
			for p := range pairs {
				w := b[j/16*panel+p*16+j%16]
				for h, y := range []uint16{uint16(w), uint16(w >> 16)} {
					v := value(a[i*rsa+2*p+h]) * value(y)
					s, m = s+v, m+math.Abs(v)
				}
			}
			sums, magnitudes = append(sums, s), append(magnitudes, m)
		}
	}
	return sums, magnitudes
}

// TestInterpretedBF16: every kernel in the interpreter, on memory of exactly the size it may
// touch, is within rounding of float64; on a processor with the unit it gives the very bits
// of the processor, so that the interpreter is tested too.
func TestInterpretedBF16(t *testing.T) {
	p, err := asmtest.Load(bf16File)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(31, 32))
	for name, f := range p {
		var rows, columns int
		switch {
		case strings.HasPrefix(name, "amx"):
			if _, err := fmt.Sscanf(name, "amx%dx%d", &rows, &columns); err != nil {
				t.Fatal(err)
			}
			for _, add := range []bool{false, true} {
				interpretTiles(t, r, f, rows, columns, add)
			}
		case name[0] == 'd':
			if _, err := fmt.Sscanf(name, "d%dr%d", &columns, &rows); err != nil {
				t.Fatal(err)
			}
			for _, add := range []bool{false, true} {
				interpretDots(t, r, f, rows, columns, add)
			}
		}
	}
}

func interpretTiles(t *testing.T, r *rand.Rand, f *asmtest.Function, rows, columns int, add bool) {
	t.Helper()
	blocks, steps := 1+r.IntN(3), 1+r.IntN(3)
	m, k := blocks*rows, steps*pairStep
	rsa, panel, ldc := k+8*r.IntN(3), k/2*16+r.IntN(9), columns+r.IntN(5)
	a, b := halves(r, (m-1)*rsa+k), pairsOf(halves(r, 2*((columns/16-1)*panel+k/2*16)))
	start := normal(r, (m-1)*ldc+columns)
	got := slices.Clone(start)
	err := f.CallWithin([]asmtest.Region{asmtest.In(tileConfig[:]), asmtest.In(a), asmtest.In(b), asmtest.In(got)},
		&tileConfig[0], blocks, steps, &a[0], 2*uintptr(rsa), &b[0], 4*uintptr(panel), &got[0], 4*uintptr(ldc), add)
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, rows, columns, m, ldc, k, a, rsa, b, panel, start, got, 1, add)
	if slices.Contains(simd.Units(), "amx") {
		real := slices.Clone(start)
		tileKernels[rows/16-1][columns/16-1](&tileConfig[0], blocks, steps, &a[0], 2*uintptr(rsa), &b[0], 4*uintptr(panel), &real[0], 4*uintptr(ldc), add)
		if i, ok := sameBits(real, got); !ok {
			t.Fatalf("%dx%d: element %d is %v interpreted, %v on the processor", rows, columns, i, got[i], real[i])
		}
	}
}

func interpretDots(t *testing.T, r *rand.Rand, f *asmtest.Function, rows, columns int, add bool) {
	t.Helper()
	pairs := 1 + r.IntN(140) // with and without turns beside those that fetch C
	more := 4 * r.IntN(3)    // and a second product
	rsa, panel, ldc := 2*pairs+8*r.IntN(3), pairs*16+r.IntN(9), columns+r.IntN(5)
	rsa2, panel2 := 2*more+8*r.IntN(3), more*16+r.IntN(9)
	a, b := halves(r, (rows-1)*rsa+2*pairs), pairsOf(halves(r, 2*((columns/16-1)*panel+pairs*16)))
	a2, b2 := halves(r, (rows-1)*rsa2+2*more+1), pairsOf(halves(r, 2*((columns/16-1)*panel2+more*16+1)))
	start := normal(r, (rows-1)*ldc+columns)
	got := slices.Clone(start)
	const alpha = -1.75
	err := f.CallWithin([]asmtest.Region{asmtest.In(a), asmtest.In(b), asmtest.In(a2), asmtest.In(b2), asmtest.In(got)},
		pairs, &a[0], 2*uintptr(rsa), &b[0], 4*uintptr(panel), more, &a2[0], 2*uintptr(rsa2), &b2[0], 4*uintptr(panel2), &got[0], 4*uintptr(ldc), float32(alpha), add, &b[0])
	if err != nil {
		t.Fatal(err)
	}
	both, bothA, bothB := pairs+more, make([]uint16, 0, rows*2*(pairs+more)), []uint32(nil)
	for i := range rows { // one product, of the factors side by side
		bothA = append(append(bothA, a[i*rsa:i*rsa+2*pairs]...), a2[i*rsa2:i*rsa2+2*more]...)
	}
	for j := range columns / 16 {
		bothB = append(append(bothB, b[j*panel:j*panel+16*pairs]...), b2[j*panel2:j*panel2+16*more]...)
	}
	checkSums(t, rows, columns, rows, ldc, 2*both, bothA, 2*both, bothB, 16*both, start, got, alpha, add)
	if slices.Contains(simd.Units(), "avx512_bf16") {
		real := slices.Clone(start)
		dotKernels[columns/16-1][rows-1](pairs, &a[0], 2*uintptr(rsa), &b[0], 4*uintptr(panel), more, &a2[0], 2*uintptr(rsa2), &b2[0], 4*uintptr(panel2), &real[0], 4*uintptr(ldc), alpha, add, &b[0])
		if i, ok := sameBits(real, got); !ok {
			t.Fatalf("%d rows, %d columns: element %d is %v interpreted, %v on the processor", rows, columns, i, got[i], real[i])
		}
	}
}

// checkSums holds C to float64: k roundings of what was summed so far, by the magnitudes.
func checkSums(t *testing.T, rows, columns, m, ldc, k int, a []uint16, rsa int, b []uint32, panel int, start, got []float32, alpha float64, add bool) {
	t.Helper()
	sums, magnitudes := product(m, columns, k/2, a, rsa, b, panel)
	for i := range got {
		row, column := i/ldc, i%ldc
		if column >= columns {
			if got[i] != start[i] {
				t.Fatalf("%dx%d: wrote past row %d", rows, columns, row)
			}
			continue
		}
		want, scale := alpha*sums[row*columns+column], math.Abs(alpha)*magnitudes[row*columns+column]
		if add {
			want, scale = want+float64(start[i]), scale+math.Abs(float64(start[i]))
		}
		if e := math.Abs(float64(got[i]) - want); !(e <= float64(k+2)*0x1p-24*scale+0x1p-120) {
			t.Fatalf("%dx%d, add %v: element %d,%d is %v, want %v", rows, columns, add, row, column, got[i], want)
		}
	}
}

func TestInterpretedPairs(t *testing.T) {
	p, err := asmtest.Load(bf16File)
	if err != nil {
		t.Fatal(err)
	}
	const pairs, lds = 5, 19
	src := halves(rand.New(rand.NewPCG(5, 6)), (2*pairs-1)*lds+16)
	interpreted, real := make([]uint32, 16*pairs), make([]uint32, 16*pairs)
	if err := p["pair16"].CallWithin([]asmtest.Region{asmtest.In(src), asmtest.In(interpreted)}, pairs, &src[0], uintptr(2*lds), &interpreted[0]); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(simd.Levels(), "avx2") {
		pair16(pairs, &src[0], 2*lds, &real[0])
	} else {
		copy(real, interpreted)
	}
	for i := range real {
		row, j := i/16, i%16
		want := uint32(src[2*row*lds+j]) | uint32(src[(2*row+1)*lds+j])<<16
		if interpreted[i] != want || real[i] != want {
			t.Fatalf("pair %d of row %d: interpreted %#x, real %#x, want %#x", j, row, interpreted[i], real[i], want)
		}
	}
}

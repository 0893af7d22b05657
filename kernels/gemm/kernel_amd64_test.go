package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/simd"
	"dataflex.dev/dataflex/kernels/simd/asmtest"
)

// interpreted is the set whose kernels run in the interpreter.
func interpreted(t *testing.T, path, prefix string, rows int, widths ...int) (s tileSet) {
	t.Helper()
	p, err := asmtest.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range widths {
		k := tile{width: w}
		for r := 1; r <= rows; r++ {
			f := p[fmt.Sprintf("%s%dr%d", prefix, w, r)]
			if f == nil {
				t.Fatalf("%s has no kernel of %d rows, %d columns", path, r, w)
			}
			k.kernels = append(k.kernels, func(k int, a *float32, rsa, csa uintptr, b *float32, rsb uintptr, c *float32, ldc uintptr, alpha float32, add bool, ahead *float32) {
				if err := f.Call(nil, k, a, rsa, csa, b, rsb, c, ldc, alpha, add, ahead); err != nil {
					panic(err)
				}
			})
		}
		s = append(s, k)
	}
	return s
}

const (
	avx2File   = "kernel_avx2_amd64.s"
	avx512File = "kernel_avx512_amd64.s"
)

// Every micro-kernel, in the interpreter, on operands of exactly the size it may
// touch. The interpreted AVX2 kernels must give the bits of the processor, which
// tests the interpreter; the AVX-512 kernels those of the AVX2 kernel of as many
// rows, or else, as each element's sum has the same order, of one row at a time.
func TestInterpretedKernels(t *testing.T) {
	if !slices.Contains(simd.Levels(), "avx2") {
		t.Skip("needs AVX2 to compare with")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, path := range []string{avx2File, avx512File} {
		p, err := asmtest.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range p {
			if name == "transpose8" || name == "copy16" || strings.HasSuffix(name, "peak") {
				continue
			}
			var width, rows int
			if _, err := fmt.Sscanf(strings.TrimLeft(name, "yz"), "%dr%d", &width, &rows); err != nil {
				t.Fatal(err)
			}
			for _, k := range []int{1, 2, 37, 61} {
				for _, add := range []bool{false, true} {
					checkKernel(t, r, name, f, rows, width, k, add)
				}
			}
		}
	}
}

func checkKernel(t *testing.T, r *rand.Rand, name string, f *asmtest.Function, rows, width, k int, add bool) {
	t.Helper()
	rsa, csa, rsb, ldc := k+r.IntN(5), 1, width+r.IntN(5), width+r.IntN(5)
	if r.IntN(2) == 0 {
		rsa, csa = 1, rows+r.IntN(5)
	}
	a, b, start := normal(r, (rows-1)*rsa+(k-1)*csa+1), normal(r, (k-1)*rsb+width), normal(r, (rows-1)*ldc+width)
	got, want := slices.Clone(start), slices.Clone(start)
	const alpha = -1.75
	if err := f.Call([][]float32{a, b, got}, k, &a[0], 4*uintptr(rsa), 4*uintptr(csa), &b[0], 4*uintptr(rsb), &got[0], 4*uintptr(ldc), float32(alpha), add, &b[0]); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		for j := 0; j < width; j += 8 {
			y8r1(k, &a[i*rsa], 4*uintptr(rsa), 4*uintptr(csa), &b[j], 4*uintptr(rsb), &want[i*ldc+j], 4*uintptr(ldc), alpha, add, &b[j])
		}
	}
	if i, ok := sameBits(want, got); !ok {
		t.Fatalf("%s, k = %d, add %v: element %d is %v, want %v", name, k, add, i, got[i], want[i])
	}
}

// The kernels on the processor against one row of the narrowest tile at a time.
func TestKernelsAgree(t *testing.T) {
	for _, level := range simd.Levels() {
		set := vectorTiles(level)
		if set == nil {
			set = portableTiles
		}
		narrow := set[len(set)-1]
		one := narrow.kernels[0]
		r := rand.New(rand.NewPCG(3, 4))
		const k = 50
		for _, tile := range set {
			for i, run := range tile.kernels {
				rows := i + 1
				a, b := normal(r, rows*k), normal(r, tile.width*k)
				got, want := make([]float32, rows*tile.width), make([]float32, rows*tile.width)
				ldc := 4 * uintptr(tile.width)
				run(k, &a[0], 4*k, 4, &b[0], ldc, &got[0], ldc, 1, false, &b[0])
				for row := range rows {
					for j := 0; j < tile.width; j += narrow.width {
						one(k, &a[row*k], 4*k, 4, &b[j], ldc, &want[row*tile.width+j], ldc, 1, false, &b[j])
					}
				}
				if at, ok := sameBits(want, got); !ok {
					t.Errorf("%s, %d rows, %d columns: element %d is %v, want %v", level, rows, tile.width, at, got[at], want[at])
				}
			}
		}
	}
}

func TestInterpretedTranspose(t *testing.T) {
	p, err := asmtest.Load(avx2File)
	if err != nil {
		t.Fatal(err)
	}
	const blocks, lds, ldd = 3, 29, 11
	src := normal(rand.New(rand.NewPCG(5, 6)), 7*lds+8*blocks)
	interpreted, real := make([]float32, (8*blocks-1)*ldd+8), make([]float32, (8*blocks-1)*ldd+8)
	if err := p["transpose8"].Call([][]float32{src, interpreted}, blocks, &src[0], uintptr(4*lds), &interpreted[0], uintptr(4*ldd)); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(simd.Levels(), "avx2") {
		transpose8(blocks, &src[0], 4*lds, &real[0], 4*ldd)
	} else {
		copy(real, interpreted)
	}
	for i := range 8 * blocks {
		for j := range 8 {
			want := src[j*lds+i]
			if interpreted[i*ldd+j] != want || real[i*ldd+j] != want {
				t.Fatalf("element %d,%d: interpreted %v, real %v, want %v", i, j, interpreted[i*ldd+j], real[i*ldd+j], want)
			}
		}
	}
}

func TestInterpretedCopy(t *testing.T) {
	p, err := asmtest.Load(avx2File)
	if err != nil {
		t.Fatal(err)
	}
	const rows, lds, ldd = 5, 19, 32
	src := normal(rand.New(rand.NewPCG(5, 6)), (rows-1)*lds+16)
	dst := make([]float32, (rows-1)*ldd+16)
	if err := p["copy16"].Call([][]float32{src, dst}, rows, &src[0], uintptr(4*lds), &dst[0], uintptr(4*ldd)); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if !slices.Equal(dst[i*ldd:i*ldd+16], src[i*lds:i*lds+16]) {
			t.Errorf("row %d: %v, want %v", i, dst[i*ldd:i*ldd+16], src[i*lds:i*lds+16])
		}
	}
}

// Whole multiplications with the AVX-512 tiles have the bits of AVX2.
func TestInterpretedMultiplication(t *testing.T) {
	if !slices.Contains(simd.Levels(), "avx2") {
		t.Skip("needs AVX2 to compare with")
	}
	now := simd.Level()
	defer simd.Force(now)
	simd.Force("avx2")
	dev := cpu.New(1)
	defer dev.Close()
	set := append(interpreted(t, avx512File, "z", 14, 32, 16), interpreted(t, avx2File, "y", 14, 8)...)
	r := rand.New(rand.NewPCG(7, 8))
	for _, s := range [][3]int{{1, 40, 9}, {15, 33, 20}, {29, 64, 70}, {14, 16, 65}, {31, 8, 100}, {200, 20, 8}, {6, 170, 66}, {60, 300, 3}, {3, 5, 330}} {
		for _, tr := range []Transpose{NN, NT, TN} {
			x := randomMatrices(r, tr, s[0], s[1], s[2])
			want := x.run(dev)
			got := slices.Clone(x.c)
			p := newProblem(tr, x.k, x.alpha, x.a, x.lda, x.b, x.ldb, x.beta, OnHost(got, x.m, x.n, x.ldc))
			p.tiles = set
			p.multiply(0, x.m, 0, x.n)
			if i, ok := sameBits(want, got); !ok {
				t.Fatalf("%v %v: element %d is %v, want %v", tr, s, i, got[i], want[i])
			}
			if math.IsNaN(float64(got[0])) {
				t.Fatal("NaN")
			}
		}
	}
}

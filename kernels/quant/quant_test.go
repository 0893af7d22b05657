package quant_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/kernels/simd"
)

var (
	nf4    = quant.Format{Kind: quant.NF4, Block: 64}
	double = quant.Format{Kind: quant.NF4, Block: 64, Double: true}
	fp4    = quant.Format{Kind: quant.FP4, Block: 64, Double: true}
	int8s  = quant.Format{Kind: quant.Int8}
)

// encode returns the codes of w.
func encode(f quant.Format, w []float32, rows, cols int) (p quant.Parts) {
	f.Encode(&p, w, rows, cols, serial)
	return p
}

func serial(n int, f func(int)) {
	for i := range n {
		f(i)
	}
}

// recorded are bitsandbytes' tensors by name, little-endian.
type recorded map[string][]byte

func (r recorded) floats(t *testing.T, name string) []float32 {
	t.Helper()
	x := make([]float32, len(r[name])/4)
	if len(x) == 0 {
		t.Fatalf("no %s", name)
	}
	if err := binary.Read(bytes.NewReader(r[name]), binary.LittleEndian, x); err != nil {
		t.Fatal(err)
	}
	return x
}

// read reads the matrices cut from the shared ones, and all shared ones if they exist beside
// the checkout.
func read(t *testing.T) recorded {
	t.Helper()
	raw, err := os.ReadFile("testdata/bitsandbytes.json")
	if err != nil {
		t.Fatal(err)
	}
	var texts map[string]string
	if err := json.Unmarshal(raw, &texts); err != nil {
		t.Fatal(err)
	}
	r := recorded{}
	for name, text := range texts {
		if r[name], err = base64.StdEncoding.DecodeString(text); err != nil {
			t.Fatal(err)
		}
	}
	return r.shared(t)
}

// shared adds the tensors of the recorded file beside the checkout.
func (r recorded) shared(t *testing.T) recorded {
	t.Helper()
	raw, err := os.ReadFile("../../../shared/golden-next/nf4.safetensors")
	if err != nil {
		return r
	}
	n := binary.LittleEndian.Uint64(raw)
	var header map[string]struct {
		At [2]int `json:"data_offsets"`
	}
	if err := json.Unmarshal(raw[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	for name, x := range header {
		r[name] = raw[8+n:][x.At[0]:x.At[1]]
	}
	return r
}

// shapes of the recorded matrices.
var shapes = map[string][2]int{"a": {96, 64}, "b": {33, 20}, "c": {512, 320}, "e": {12, 112}} // e is ragged

// TestNF4AgainstBitsandbytes: codes, absmaxes, the offset and the decoded weights are
// bitsandbytes 0.50.2's to the bit, in complete and incomplete blocks, single and double.
func TestNF4AgainstBitsandbytes(t *testing.T) {
	r := read(t)
	for name, s := range shapes {
		if _, ok := r[name+".weight"]; !ok {
			continue
		}
		w := r.floats(t, name+".weight")
		one := encode(nf4, w, s[0], s[1])
		two := encode(double, w, s[0], s[1])
		for what, codes := range map[string][]uint8{"single": one.Codes, "double": two.Codes} {
			if !bytes.Equal(codes, r[name+".double.packed"]) {
				t.Errorf("%s: codes differ, %s quantisation", name, what)
			}
		}
		optest.Same(t, name+" absmax", one.Absmax, r.floats(t, name+".single.absmax"))
		optest.Same(t, name+" decoded", one.Decoded(nf4, s[0], s[1]), r.floats(t, name+".single.dequantised"))
		optest.Same(t, name+" offset", []float32{two.Offset}, r.floats(t, name+".double.offset"))
		optest.Same(t, name+" nested absmax", two.Nested, r.floats(t, name+".double.nested_absmax"))
		if !bytes.Equal(two.AbsmaxCodes, r[name+".double.absmax"]) {
			t.Errorf("%s: codes of absmaxes differ", name)
		}
		optest.Same(t, name+" decoded, double", two.Decoded(double, s[0], s[1]), r.floats(t, name+".double.dequantised"))
		optest.Same(t, name+" map", two.Tables[16:], r.floats(t, "a.double.nested_code"))
	}
}

// TestFP4AndInt8: the same for FP4 with double quantisation, and for int8.
func TestFP4AndInt8(t *testing.T) {
	r := read(t)
	const rows, cols = 40, 36
	w := r.floats(t, "d.weight")
	p := encode(fp4, w, rows, cols)
	if !bytes.Equal(p.Codes, r["d.fp4.packed"]) || !bytes.Equal(p.AbsmaxCodes, r["d.fp4.absmax"]) {
		t.Error("fp4: codes differ")
	}
	optest.Same(t, "offset", []float32{p.Offset}, r.floats(t, "d.fp4.offset"))
	optest.Same(t, "nested absmax", p.Nested, r.floats(t, "d.fp4.nested_absmax"))
	if !slices.Equal(p.Decoded(fp4, rows, cols), r.floats(t, "d.fp4.dequantised")) { // not the bits: its zeros have signs
		t.Error("fp4: decoded weights differ")
	}
	p = encode(int8s, w, rows, cols)
	if !bytes.Equal(p.Codes, r["d.int8.codes"]) {
		t.Error("int8: codes differ")
	}
	optest.Same(t, "int8 absmax", p.Absmax, r.floats(t, "d.int8.absmax"))
	optest.Same(t, "int8 decoded", p.Decoded(int8s, rows, cols), r.floats(t, "d.int8.dequantised"))
}

// TestAlike: if all absmaxes equal their mean, their codes are 0, as in bitsandbytes, and
// nothing is lost.
func TestAlike(t *testing.T) {
	w := make([]float32, 128)
	w[3], w[64] = -0.5, 0.5
	p := encode(double, w, 2, 64)
	if !bytes.Equal(p.AbsmaxCodes, []byte{0, 0}) || p.Offset != 0.5 || !slices.Equal(p.Nested, []float32{0}) {
		t.Errorf("%v %v %v", p.AbsmaxCodes, p.Offset, p.Nested)
	}
	if got := p.Decoded(double, 2, 64); !slices.Equal(got, w) {
		t.Errorf("%v", got)
	}
}

// TestInt8ByHand: a row is rounded to float16 first, then to 127ths of its absmax, ties to
// even; a row of zeros is zeros.
func TestInt8ByHand(t *testing.T) {
	w := []float32{127, 2.5, -3.5, 1 + 1.0/4096, 0, 0, 0, 0, -2049, 1, 16.2, -16.1} // 2049 is 2048 in float16
	p := encode(int8s, w, 3, 4)
	want := []float32{127, 2, -4, 1, 0, 0, 0, 0, -2048, 0, 2048.0 / 127, -2048.0 / 127}
	for i, x := range p.Decoded(int8s, 3, 4) {
		if math.Abs(float64(x-want[i])) > 1e-6*math.Abs(float64(want[i])) {
			t.Errorf("%v decodes to %v, want %v", w[i], x, want[i])
		}
	}
	if !slices.Equal(p.Absmax, []float32{127, 0, 2048}) {
		t.Errorf("absmaxes %v", p.Absmax)
	}
}

// place encodes a random matrix and puts it on a device; plain is its decoded value.
func place(t *testing.T, dev driver.Device, f quant.Format, rows, cols int, seed uint64) (w quant.Matrix, plain []float32) {
	t.Helper()
	p := encode(f, optest.Normal(optest.Rand(seed), rows*cols, 0.05), rows, cols)
	m, err := dev.Alloc(f.Bytes(rows, cols))
	if err != nil {
		t.Fatal(err)
	}
	w = f.In(m, rows, cols)
	if err := w.Upload(dev, p); err != nil {
		t.Fatal(err)
	}
	back, err := w.Download(dev)
	if err != nil || !bytes.Equal(back.Codes, p.Codes) || !bytes.Equal(back.AbsmaxCodes, p.AbsmaxCodes) || !slices.Equal(back.Absmax, p.Absmax) || back.Offset != p.Offset {
		t.Fatalf("what comes back is not what was uploaded: %v", err)
	}
	return w, p.Decoded(f, rows, cols)
}

var formats = map[string]quant.Format{
	"nf4": nf4, "double": double, "fp4": fp4, "int8": int8s, "blocks of 128": {Kind: quant.NF4, Block: 128, Double: true},
}

// TestDecode: any rectangle equals that of the whole matrix, to the bit, on a device as
// well.
func TestDecode(t *testing.T) {
	for name, f := range formats {
		for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80)} {
			for i, s := range [][6]int{{1, 1, 0, 1, 0, 1}, {7, 64, 1, 6, 0, 64}, {9, 33, 2, 9, 1, 30}, {40, 48, 3, 40, 16, 48}, {300, 130, 0, 300, 0, 130}, {30, 112, 1, 30, 16, 112}, {5, 176, 0, 5, 3, 170}} {
				w, plain := place(t, dev, f, s[0], s[1], uint64(i))
				rows, cols := s[3]-s[2], s[5]-s[4]
				var want []float32
				for r := s[2]; r < s[3]; r++ {
					want = append(want, plain[r*s[1]+s[4]:r*s[1]+s[5]]...)
				}
				m, err := dev.Alloc(4 * rows * cols)
				if err != nil {
					t.Fatal(err)
				}
				out := driver.View[float32](m)
				w.Decode(dev, s[2], s[3], s[4], s[5], gemm.Dense(out, rows, cols))
				got, err := driver.Read(dev, out)
				if err != nil {
					t.Fatal(err)
				}
				optest.Same(t, name, got, want)
				half := driver.View[driver.BF16](m).Sub(0, rows*cols)
				w.DecodeBF16(dev, s[2], s[3], s[4], s[5], gemm.Dense(half, rows, cols))
				narrow, err := driver.Read(dev, half)
				if err != nil {
					t.Fatal(err)
				}
				for i, x := range want {
					if n := nearestEven(x); narrow[i] != n {
						t.Fatalf("%s: bf16 of %v is %#x, want %#x", name, x, narrow[i], n)
					}
				}
			}
		}
	}
}

// TestRandomRectangles: on the host, rectangles of random matrices equal those of the whole.
func TestRandomRectangles(t *testing.T) {
	dev := optest.CPU(t, 2)
	r := optest.Rand(77)
	for range 300 {
		f := []quant.Format{nf4, double, fp4, int8s}[r.IntN(4)]
		rows, cols := 1+r.IntN(40), 1+r.IntN(200)
		w, plain := place(t, dev, f, rows, cols, r.Uint64())
		r0, c0 := r.IntN(rows), r.IntN(cols)
		r1, c1 := r0+1+r.IntN(rows-r0), c0+1+r.IntN(cols-c0)
		ld := c1 - c0 + r.IntN(3)
		out := make([]float32, (r1-r0)*ld)
		w.Decode(dev, r0, r1, c0, c1, gemm.OnHost(out, r1-r0, c1-c0, ld))
		for i := r0; i < r1; i++ {
			optest.Same(t, f.Kind.String(), out[(i-r0)*ld:][:c1-c0], plain[i*cols+c0:i*cols+c1])
		}
	}
}

func nearestEven(x float32) driver.BF16 {
	b := math.Float32bits(x)
	return driver.BF16((b + 0x7fff + b>>16&1) >> 16)
}

// TestMultiplyIsGemm: products have the bits of gemm's with the decoded matrix, with every
// instruction set, with several threads, and on a device where W is decoded in several
// bands.
func TestMultiplyIsGemm(t *testing.T) {
	defer quant.SetMaxBand(4 * 128 * 64)()
	devices := map[string]driver.Device{"1 thread": optest.CPU(t, 1), "5 threads": optest.CPU(t, 5), "ptx": optest.Device(t, 80)}
	for name, f := range formats {
		for on, dev := range devices {
			for i, s := range [][3]int{{1, 5, 3}, {17, 300, 96}, {50, 64, 700}, {3, 1100, 130}} {
				levels := simd.Levels()
				if on == "ptx" {
					if levels = levels[:1]; i > 1 || f == fp4 || f == nf4 {
						continue // the interpreter is slow
					}
				}
				for _, level := range levels {
					simd.Force(level)
					for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN} {
						multiply(t, name+" "+on, dev, f, tr, s[0], s[1], s[2], uint64(i))
					}
				}
			}
		}
	}
}

// multiply compares products of m rows with W [rows, cols].
func multiply(t *testing.T, what string, dev driver.Device, f quant.Format, tr gemm.Transpose, m, rows, cols int, seed uint64) {
	t.Helper()
	w, plain := place(t, dev, f, rows, cols, seed)
	k, n := cols, rows
	if tr == gemm.NN {
		k, n = rows, cols
	}
	r := optest.Rand(seed + 100)
	a, c := optest.In(t, dev, optest.Normal(r, m*k, 1), 0), optest.Normal(r, m*n, 1)
	left, right := optest.In(t, dev, make([]float32, rows*m), 0), optest.In(t, dev, make([]float32, rows*m), 0)
	b := gemm.Dense(optest.In(t, dev, optest.Normal(r, m*cols, 1), 0), m, cols)
	w.MultiplyLeft(dev, b, gemm.Dense(left, rows, m))
	gemm.Run(dev, gemm.NT, 1, gemm.Dense(optest.In(t, dev, plain, 0), rows, cols), b, 0, gemm.Dense(right, rows, m))
	optest.Same(t, what+" left", optest.Out(t, dev, left), optest.Out(t, dev, right))
	for _, beta := range []float32{0, 1} {
		got, want := optest.In(t, dev, c, 0), optest.In(t, dev, c, 0)
		w.Multiply(dev, tr, 1.5, gemm.Dense(a, m, k), beta, gemm.Dense(got, m, n))
		gemm.Run(dev, tr, 1.5, gemm.Dense(a, m, k), gemm.Dense(optest.In(t, dev, plain, 0), rows, cols), beta, gemm.Dense(want, m, n))
		optest.Same(t, what+" "+tr.String(), optest.Out(t, dev, got), optest.Out(t, dev, want))
	}
}

// TestMultiplyBF16: the same for products in bf16, with and without a LoRA branch.
func TestMultiplyBF16(t *testing.T) {
	defer quant.SetMaxBand(2 * 128 * 72)()
	for _, dev := range []driver.Device{optest.CPU(t, 2), optest.Device(t, 80), optest.Device(t, 90)} {
		for _, f := range []quant.Format{double, int8s} {
			for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN} {
				const m, rows, cols, rank = 9, 144, 200, 5
				w, plain := place(t, dev, f, rows, cols, 3)
				k, n := cols, rows
				if tr == gemm.NN {
					k, n = rows, cols
				}
				r := optest.Rand(7)
				half := func(x []float32) driver.Slice[driver.BF16] { return narrow(t, dev, x) }
				a, b := gemm.Dense(half(optest.Normal(r, m*k, 1)), m, k), gemm.Dense(half(plain), rows, cols)
				u := gemm.Strided(half(optest.Normal(r, m*8, 1)), m, rank, 8)
				l := gemm.Strided(half(optest.Normal(r, n*8, 1)), n, rank, 8)
				if tr == gemm.NN {
					l = gemm.Dense(half(optest.Normal(r, rank*n, 1)), rank, n)
				}
				c := optest.Normal(r, m*n, 1)
				got, want := optest.In(t, dev, c, 0), optest.In(t, dev, c, 0)
				w.MultiplyBF16(dev, tr, 2, a, 1, gemm.Dense(got, m, n))
				gemm.RunBF16(dev, tr, 2, a, b, 1, gemm.Dense(want, m, n))
				optest.Same(t, "product", optest.Out(t, dev, got), optest.Out(t, dev, want))
				w.MultiplyLoRABF16(dev, tr, a, u, l, 0, gemm.Dense(got, m, n))
				gemm.RunLoRABF16(dev, tr, a, b, u, l, 0, gemm.Dense(want, m, n))
				left := gemm.Dense(half(optest.Normal(r, m*cols, 1)), m, cols)
				gl, wl := optest.In(t, dev, make([]float32, rows*m), 0), optest.In(t, dev, make([]float32, rows*m), 0)
				w.MultiplyLeftBF16(dev, left, gemm.Dense(gl, rows, m))
				gemm.RunBF16(dev, gemm.NT, 1, b, left, 0, gemm.Dense(wl, rows, m))
				optest.Same(t, "left", optest.Out(t, dev, gl), optest.Out(t, dev, wl))
				optest.Same(t, "with a branch", optest.Out(t, dev, got), optest.Out(t, dev, want))
			}
		}
	}
}

// TestBytes: 4 bits and a doubly quantised absmax are 0.516 bytes per element.
func TestBytes(t *testing.T) {
	const rows, cols = 4096, 4096
	for f, most := range map[quant.Format]float64{nf4: 0.5626, double: 0.5161, int8s: 1.0011} {
		if b := float64(f.Bytes(rows, cols)) / (rows * cols); b > most {
			t.Errorf("%v: %.4f bytes an element, at most %v", f, b, most)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, f := range []quant.Format{{Kind: quant.NF4}, {Kind: quant.FP4, Block: 96}, {Kind: quant.Int8, Block: 64}, {Kind: 9}} {
		if f.Valid() == nil {
			t.Errorf("%v is taken", f)
		}
	}
}

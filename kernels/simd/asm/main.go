// Command asm writes the loops of package simd: see vector_amd64.go there for
// the go:generate lines. Every loop takes a number of whole vectors, at least 1.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The instruction set being written.
var (
	suffix string                // of the functions' names
	bytes  int                   // of a vector
	vec    func() reg.VecVirtual // a new vector register
)

func main() {
	set := flag.String("set", "avx2", "avx2 or avx512")
	flag.Parse()
	switch *set {
	case "avx2":
		suffix, bytes, vec = "Y", 32, YMM
	case "avx512":
		suffix, bytes, vec = "Z", 64, ZMM
	default:
		panic("unknown -set " + *set)
	}
	axpy()
	scale()
	binary("add", "dst = x + y", VADDPS)
	binary("mul", "dst = x * y", VMULPS)
	rotate()
	dot()
	sumSquares()
	largest()
	expOf()
	expSum()
	logistic("sigmoid", "dst = 1 / (1 + e^-src)", func(_, one, d reg.VecVirtual) { VDIVPS(d, one, d) })
	logistic("silu", "dst = src / (1 + e^-src)", func(x, _, d reg.VecVirtual) { VDIVPS(d, x, d) })
	siluGradients()
	if *set == "avx2" { // AVX-512 takes them too: memory is what they wait for
		narrow()
		widen()
	} else { // for attention in bf16, whose units come with AVX-512
		expSumHalf()
		softmaxGradients()
	}
	Generate()
}

// begin opens a function and loads its number of vectors.
func begin(name, params, doc string) (n reg.Register) {
	TEXT(name+suffix, NOSPLIT, "func(n int, "+params+")")
	Doc(name + suffix + " is " + doc + ", over n vectors.")
	Pragma("noescape")
	return Load(Param("n"), GP64())
}

func pointer(param string) reg.Register { return Load(Param(param), GP64()) }

// broadcast fills a register with a float32 parameter.
func broadcast(param string) reg.VecVirtual {
	p, err := Param(param).Resolve()
	if err != nil {
		panic(err)
	}
	r := vec()
	VBROADCASTSS(p.Addr, r)
	return r
}

// repeat is the loop: body works on one vector at the pointers.
func repeat(n reg.Register, pointers []reg.Register, body func()) {
	Label("loop")
	body()
	for _, p := range pointers {
		ADDQ(Imm(uint64(bytes)), p)
	}
	DECQ(n)
	JNE(LabelRef("loop"))
}

func end() {
	VZEROUPPER()
	RET()
}

func at(p reg.Register) Mem { return Mem{Base: p} }

// zero is a register of zeros.
func zero() reg.VecVirtual {
	r := vec()
	if suffix == "Z" {
		VPXORD(r, r, r)
	} else {
		VXORPS(r, r, r)
	}
	return r
}

func axpy() {
	n := begin("axpy", "a float32, x, y *float32", "y += a*x")
	a, x, y := broadcast("a"), pointer("x"), pointer("y")
	v := vec()
	repeat(n, []reg.Register{x, y}, func() {
		VMOVUPS(at(y), v)
		VFMADD231PS(at(x), a, v)
		VMOVUPS(v, at(y))
	})
	end()
}

func scale() {
	n := begin("scale", "a float32, x *float32", "x *= a")
	a, x := broadcast("a"), pointer("x")
	v := vec()
	repeat(n, []reg.Register{x}, func() {
		VMULPS(at(x), a, v)
		VMOVUPS(v, at(x))
	})
	end()
}

func binary(name, doc string, op func(...Op)) {
	n := begin(name, "dst, x, y *float32", doc)
	dst, x, y := pointer("dst"), pointer("x"), pointer("y")
	v := vec()
	repeat(n, []reg.Register{dst, x, y}, func() {
		VMOVUPS(at(x), v)
		op(at(y), v, v)
		VMOVUPS(v, at(dst))
	})
	end()
}

// rotate rounds every product, as the portable version does.
func rotate() {
	n := begin("rotate", "sign float32, x, y, cos, sin *float32", "x, y = x*cos - y*sign*sin, y*cos + x*sign*sin")
	sign, x, y, cos, sin := broadcast("sign"), pointer("x"), pointer("y"), pointer("cos"), pointer("sin")
	u, v, c, s, p := vec(), vec(), vec(), vec(), vec()
	repeat(n, []reg.Register{x, y, cos, sin}, func() {
		VMOVUPS(at(x), u)
		VMOVUPS(at(y), v)
		VMOVUPS(at(cos), c)
		VMULPS(at(sin), sign, s)
		VMULPS(u, s, p) // x*sin
		VMULPS(u, c, u)
		VMULPS(v, s, s) // y*sin
		VSUBPS(s, u, u)
		VMOVUPS(u, at(x))
		VMULPS(v, c, v)
		VADDPS(p, v, v)
		VMOVUPS(v, at(y))
	})
	end()
}

// dot keeps four sums, so that the additions do not wait for each other.
func dot() {
	n := begin("dot", "x, y, sums *float32", "the lanes' sums of x*y")
	x, y := pointer("x"), pointer("y")
	sum := []reg.VecVirtual{zero(), zero(), zero(), zero()}
	v := vec()
	SUBQ(Imm(4), n)
	JL(LabelRef("rest"))
	Label("four")
	for i, s := range sum {
		VMOVUPS(Mem{Base: x, Disp: i * bytes}, v)
		VFMADD231PS(Mem{Base: y, Disp: i * bytes}, v, s)
	}
	ADDQ(U32(4*bytes), x)
	ADDQ(U32(4*bytes), y)
	SUBQ(Imm(4), n)
	JGE(LabelRef("four"))
	Label("rest")
	ADDQ(Imm(4), n)
	JE(LabelRef("add"))
	repeat(n, []reg.Register{x, y}, func() {
		VMOVUPS(at(x), v)
		VFMADD231PS(at(y), v, sum[0])
	})
	Label("add")
	VADDPS(sum[2], sum[0], sum[0])
	VADDPS(sum[3], sum[1], sum[1])
	VADDPS(sum[1], sum[0], sum[0])
	VMOVUPS(sum[0], at(pointer("sums")))
	end()
}

func sumSquares() {
	n := begin("sumSquares", "x *float32, sums *float64", "the lanes' sums of x² in float64")
	x := pointer("x")
	low, high := zero(), zero()
	v, w := vec(), vec()
	repeat(n, []reg.Register{x}, func() {
		VCVTPS2PD(at(x), v)
		VCVTPS2PD(Mem{Base: x, Disp: bytes / 2}, w)
		VFMADD231PD(v, v, low)
		VFMADD231PD(w, w, high)
	})
	VADDPD(high, low, low)
	VMOVUPD(low, at(pointer("sums")))
	end()
}

func largest() {
	n := begin("max", "x, lanes *float32", "the lanes' maxima of x and of what lanes holds")
	x, lanes := pointer("x"), pointer("lanes")
	v, m := vec(), vec()
	VMOVUPS(at(lanes), m)
	repeat(n, []reg.Register{x}, func() {
		VMOVUPS(at(x), v)
		VMAXPS(m, v, m) // the second operand, m, where either is NaN
	})
	VMOVUPS(m, at(lanes))
	end()
}

func expOf() {
	n := begin("exp", "dst, src *float32, c *float32", "dst = e^src")
	dst, src, e := pointer("dst"), pointer("src"), newExponential()
	x := vec()
	repeat(n, []reg.Register{dst, src}, func() {
		VMOVUPS(at(src), x)
		VMOVUPS(e.of(x), at(dst))
	})
	end()
}

func expSum() {
	n := begin("expSum", "dst, src *float32, shift float32, c *float32, sums *float32", "dst = e^(src-shift) and the lanes' sums of dst")
	dst, src, m, e := pointer("dst"), pointer("src"), broadcast("shift"), newExponential()
	sum, x := zero(), vec()
	repeat(n, []reg.Register{dst, src}, func() {
		VMOVUPS(at(src), x)
		VSUBPS(m, x, x)
		y := e.of(x)
		VMOVUPS(y, at(dst))
		VADDPS(y, sum, sum)
	})
	VMOVUPS(sum, at(pointer("sums")))
	end()
}

// logistic writes a function that divides something by 1 + e^-x.
func logistic(name, doc string, divide func(x, one, d reg.VecVirtual)) {
	n := begin(name, "dst, src *float32, c *float32", doc)
	dst, src, e := pointer("dst"), pointer("src"), newExponential()
	x, minus := vec(), vec()
	repeat(n, []reg.Register{dst, src}, func() {
		VMOVUPS(at(src), x)
		VMULPS(e.row("minusOne"), x, minus)
		d := e.of(minus)
		VADDPS(e.one, d, d)
		divide(x, e.one, d)
		VMOVUPS(d, at(dst))
	})
	end()
}

// siluGradients loads all that a vector needs before it stores: results may take the place
// of arguments.
func siluGradients() {
	n := begin("siluGradients", "dgate, dup, dout, gate, up *float32, c *float32", "the gradients of silu(gate)*up")
	dgate, dup := pointer("dgate"), pointer("dup")
	dout, gate, up := pointer("dout"), pointer("gate"), pointer("up")
	e := newExponential()
	g, minus, ds, u := vec(), vec(), vec(), vec()
	repeat(n, []reg.Register{dgate, dup, dout, gate, up}, func() {
		VMOVUPS(at(gate), g)
		VMULPS(e.row("minusOne"), g, minus)
		s := e.of(minus)
		VADDPS(e.one, s, s)
		VDIVPS(s, e.one, s)
		VMULPS(at(dout), s, ds)
		VMULPS(at(up), ds, u)
		VMULPS(g, ds, ds)
		VMOVUPS(ds, at(dup))
		VSUBPS(s, e.one, s)
		VMULPS(s, g, s)
		VADDPS(s, e.one, s)
		VMULPS(s, u, u)
		VMOVUPS(u, at(dgate))
	})
	end()
}

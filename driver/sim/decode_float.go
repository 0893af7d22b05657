package sim

import "math"

var floatOpcodes = map[string]func(*decoder){
	"add": byType(decodeIntAddSub), "sub": byType(decodeIntAddSub),
	"mul": byType(decodeIntMul), "mad": byType(decodeIntMul),
	"div": byType(decodeDivRem), "min": byType(decodeIntMinMax), "max": byType(decodeIntMinMax),
	"neg": byType(decodeIntNegAbs), "abs": byType(decodeIntNegAbs),
	"fma": decodeFma, "sqrt": decodeRoot, "rcp": decodeRoot, "rsqrt": decodeApprox, "ex2": decodeApprox, "lg2": decodeApprox,
	"sin": decodeApprox, "cos": decodeApprox, "tanh": decodeApprox, "copysign": decodeCopysign, "testp": decodeTestp,
}

// byType decodes opcodes that exist for integers and floats with the decoder of their type.
func byType(integers func(*decoder)) func(*decoder) {
	return func(d *decoder) {
		switch d.typeAhead() {
		case tF32:
			decodeF32(d)
		case tF64:
			decodeF64(d)
		case tF16, tF16x2, tBF16, tBF16x2:
			decodeHalf(d)
		default:
			integers(d)
		}
	}
}

type floatOp struct {
	f     func(d, a, b, c *row)
	n     int
	flops int32
}

var f32ops = map[string]floatOp{
	"add": {fast.addF, 2, 1}, "sub": {fast.subF, 2, 1}, "mul": {fast.mulF, 2, 1}, "div": {divF, 2, 1},
	"min": {fast.minF, 2, 1}, "max": {fast.maxF, 2, 1}, "neg": {negF, 1, 0}, "abs": {absF, 1, 0},
}

func decodeF32(d *decoder) {
	op, ok := f32ops[d.base]
	if !ok {
		d.fail("%s.f32 is not supported: use fma", d.base)
	}
	switch d.base {
	case "add", "sub", "mul":
		d.opt("rn")
	case "div":
		d.one("rn", "full", "approx")
	}
	ftz := d.opt("ftz")
	sat := false
	switch d.base {
	case "add", "sub", "mul":
		sat = d.opt("sat")
	case "min", "max":
		if d.opt("NaN") {
			op.f = nanWins(op.f)
		}
	}
	d.typ(tF32)
	d.o.flops = op.flops
	d.alu(tF32, op.n, modified(op.f, ftz, sat))
}

// nanWins is min.NaN and max.NaN: a NaN operand makes the result NaN.
func nanWins(f func(d, a, b, c *row)) func(d, a, b, c *row) {
	return func(d, a, b, c *row) {
		var t row
		f(&t, a, b, c)
		for i := range t {
			if isNaN32(a[i]) || isNaN32(b[i]) {
				t[i] = canonicalNaN
			}
		}
		*d = t
	}
}

func decodeFma(d *decoder) {
	d.one("rn")
	ftz := d.opt("ftz")
	sat, relu := d.opt("sat"), false
	if !sat {
		relu = d.opt("relu")
	}
	t := d.typ(tF32, tF64, tF16, tF16x2, tBF16, tBF16x2)
	d.o.flops = 2
	switch t {
	case tF32:
		if relu {
			d.fail(".relu of .f32")
		}
		d.alu(t, 3, modified(fast.fmaF, ftz, sat))
	case tF64:
		if ftz || sat || relu {
			d.fail("a modifier that .f64 does not have")
		}
		d.alu64(t, 3, each64(func(a, b, c uint64) uint64 { return u64(math.FMA(f64(a), f64(b), f64(c))) }))
	default:
		if ftz || sat {
			d.fail("a modifier that .%s is not supported with", t)
		}
		if t.size() == 4 {
			d.o.flops = 4
		}
		d.alu(t, 3, halfOp(t, func(a, b, c float32) float64 {
			x := fmaExact(a, b, c)
			if relu && !(x > 0) && !math.IsNaN(x) {
				return 0
			}
			return x
		}))
	}
}

var f64ops = map[string]func(a, b, c uint64) uint64{
	"add": func(a, b, _ uint64) uint64 { return u64(f64(a) + f64(b)) },
	"sub": func(a, b, _ uint64) uint64 { return u64(f64(a) - f64(b)) },
	"mul": func(a, b, _ uint64) uint64 { return u64(float64(f64(a) * f64(b))) },
	"div": func(a, b, _ uint64) uint64 { return u64(f64(a) / f64(b)) },
	"min": func(a, b, _ uint64) uint64 {
		x, y := f64(a), f64(b)
		if x != x {
			return b
		}
		if y != y {
			return a
		}
		return u64(math.Min(x, y))
	},
	"max": func(a, b, _ uint64) uint64 {
		x, y := f64(a), f64(b)
		if x != x {
			return b
		}
		if y != y {
			return a
		}
		return u64(math.Max(x, y))
	},
	"neg": func(a, _, _ uint64) uint64 { return a ^ 1<<63 },
	"abs": func(a, _, _ uint64) uint64 { return a &^ (1 << 63) },
}

func decodeF64(d *decoder) {
	f, ok := f64ops[d.base]
	if !ok {
		d.fail("%s.f64 is not supported: use fma", d.base)
	}
	n := 2
	switch d.base {
	case "neg", "abs":
		n = 1
	case "add", "sub", "mul":
		d.opt("rn")
	case "div":
		d.one("rn")
	}
	d.typ(tF64)
	if n == 2 {
		d.o.flops = 1
	}
	d.alu64(tF64, n, each64(f))
}

var halfOps = map[string]func(a, b, c float32) float64{
	"add": func(a, b, _ float32) float64 { return float64(a) + float64(b) },
	"sub": func(a, b, _ float32) float64 { return float64(a) - float64(b) },
	"mul": func(a, b, _ float32) float64 { return float64(a) * float64(b) },
	"min": func(a, b, _ float32) float64 { return float64(f32(min32(u32(a), u32(b)))) },
	"max": func(a, b, _ float32) float64 { return float64(f32(max32(u32(a), u32(b)))) },
}

func decodeHalf(d *decoder) {
	nan := false
	switch d.base {
	case "add", "sub", "mul":
		d.opt("rn")
	case "min", "max":
		nan = d.opt("NaN")
	}
	t := d.typ(tF16, tF16x2, tBF16, tBF16x2)
	signs := uint32(0x8000)
	if t.size() == 4 {
		signs = 0x80008000
	}
	switch d.base {
	case "neg":
		d.alu(t, 1, each(func(a, _, _ uint32) uint32 { return a ^ signs }))
		return
	case "abs":
		d.alu(t, 1, each(func(a, _, _ uint32) uint32 { return a &^ signs }))
		return
	}
	f := halfOps[d.base]
	if f == nil {
		d.fail("%s.%s is not supported", d.base, t)
	}
	if nan {
		g := f
		f = func(a, b, c float32) float64 {
			if a != a || b != b {
				return math.NaN()
			}
			return g(a, b, c)
		}
	}
	d.o.flops = int32(t.size() / 2)
	d.alu(t, 2, halfOp(t, f))
}

// decodeRoot is sqrt and rcp, rounded or approximate.
func decodeRoot(d *decoder) {
	d.one("rn", "approx")
	ftz := d.opt("ftz")
	t := d.typ(tF32, tF64)
	d.o.flops = 1
	root := d.base == "sqrt"
	if t == tF64 {
		d.alu64(t, 1, each64(func(a, _, _ uint64) uint64 {
			if root {
				return u64(math.Sqrt(f64(a)))
			}
			return u64(1 / f64(a))
		}))
		return
	}
	f := rcpF
	if root {
		f = sqrtF
	}
	if ftz {
		f = flushed(f)
	}
	d.alu(t, 1, f)
}

var approximate = map[string]func(d, a, b, c *row){
	"ex2": fast.ex2F, "lg2": lg2F, "rsqrt": rsqrtF, "sin": sinF, "cos": cosF, "tanh": tanhF,
}

// decodeApprox is the functions that exist only as approximations. They are computed exactly
// or nearly so in float32, better than any GPU promises.
func decodeApprox(d *decoder) {
	d.one("approx")
	ftz := d.base != "tanh" && d.opt("ftz")
	f := approximate[d.base]
	d.o.flops = 1
	if d.base == "ex2" || d.base == "tanh" {
		t := d.typ(tF32, tF16, tF16x2, tBF16, tBF16x2)
		if t != tF32 {
			d.o.flops = int32(t.size() / 2)
			d.alu(t, 1, halfOp(t, func(a, _, _ float32) float64 {
				if d.base == "ex2" {
					return math.Exp2(float64(a))
				}
				return math.Tanh(float64(a))
			}))
			return
		}
	} else {
		d.typ(tF32)
	}
	switch {
	case ftz && d.base == "ex2":
		f = fast.ex2FtzF
	case ftz:
		f = flushed(f)
	}
	d.alu(tF32, 1, f)
}

func decodeCopysign(d *decoder) {
	t := d.typ(tF32, tF64)
	const s32, s64 = 1 << 31, 1 << 63
	if t == tF64 {
		d.alu64(t, 2, each64(func(a, b, _ uint64) uint64 { return a&s64 | b&^s64 }))
		return
	}
	d.alu(t, 2, each(func(a, b, _ uint32) uint32 { return a&s32 | b&^s32 }))
}

func decodeTestp(d *decoder) {
	mode := d.one("finite", "infinite", "number", "notanumber", "normal", "subnormal")
	d.typ(tF32)
	d.o.kind = kindCmp
	d.o.d, d.o.a = d.dst(0, tPred), d.src(1, tF32)
	d.o.cmp = func(a, _ *row) (r uint32) {
		for i, u := range a {
			e, m := u>>23&255, u&(1<<23-1)
			yes := false
			switch mode {
			case "finite":
				yes = e != 255
			case "infinite":
				yes = e == 255 && m == 0
			case "number":
				yes = e != 255 || m == 0
			case "notanumber":
				yes = e == 255 && m != 0
			case "normal":
				yes = e != 255 && e != 0
			case "subnormal":
				yes = e == 0 && m != 0
			}
			if yes {
				r |= 1 << i
			}
		}
		return r
	}
}

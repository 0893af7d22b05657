package sim

import "math"

// Single-precision arithmetic on rows. Products that must be rounded are converted
// explicitly: otherwise Go may fuse x*y + z on some machines.

func fmaF(d, a, b, c *row) {
	for i := range d {
		p, z := float64(f32(a[i]))*float64(f32(b[i])), float64(f32(c[i]))
		s := p + z
		if needsOdd(s) {
			s = toOdd(p, z, s)
		}
		d[i] = number(float32(s))
	}
}

func divF(d, a, b, _ *row) {
	for i := range d {
		d[i] = u32(f32(a[i]) / f32(b[i]))
	}
}

func maxF(d, a, b, _ *row) {
	for i := range d {
		x, y := f32(a[i]), f32(b[i])
		switch {
		case x > y:
			d[i] = a[i]
		case y > x:
			d[i] = b[i]
		default:
			d[i] = max32(a[i], b[i])
		}
	}
}

func minF(d, a, b, _ *row) {
	for i := range d {
		x, y := f32(a[i]), f32(b[i])
		switch {
		case x < y:
			d[i] = a[i]
		case y < x:
			d[i] = b[i]
		default:
			d[i] = min32(a[i], b[i])
		}
	}
}

func negF(d, a, _, _ *row) {
	for i := range d {
		d[i] = a[i] ^ 1<<31
	}
}

func absF(d, a, _, _ *row) {
	for i := range d {
		d[i] = a[i] &^ (1 << 31)
	}
}

// ex2F computes the common range inline: that halves its time.
func ex2F(d, a, _, _ *row) {
	for i := range d {
		x := f32(a[i])
		if !(x > -126 && x < 127) {
			d[i] = u32(exp2(x))
			continue
		}
		f := float64(x) * 64
		k := f + exp2Shift
		n := int64(int32(math.Float64bits(k)))
		t := (f - (k - exp2Shift)) * (math.Ln2 / 64)
		p := exp2Table[n&63] * (1 + t*(1+t*(1./2+t*(1./6))))
		d[i] = u32(float32(math.Float64frombits(math.Float64bits(p) + uint64(n>>6)<<52)))
	}
}

// ex2FtzF does not flush its operand: 2^x of a subnormal is 1 either way.
func ex2FtzF(d, a, _, _ *row) {
	ex2F(d, a, nil, nil)
	for i := range d {
		d[i] = flush(d[i])
	}
}

func lg2F(d, a, _, _ *row) {
	for i := range d {
		d[i] = u32(float32(math.Log2(float64(f32(a[i])))))
	}
}

func rsqrtF(d, a, _, _ *row) {
	for i := range d {
		d[i] = u32(float32(1 / math.Sqrt(float64(f32(a[i])))))
	}
}

func rcpF(d, a, _, _ *row) {
	for i := range d {
		d[i] = u32(1 / f32(a[i]))
	}
}

func sqrtF(d, a, _, _ *row) {
	for i := range d {
		d[i] = u32(float32(math.Sqrt(float64(f32(a[i])))))
	}
}

func sinF(d, a, _, _ *row) {
	for i := range d {
		d[i] = u32(float32(math.Sin(float64(f32(a[i])))))
	}
}

func cosF(d, a, _, _ *row) {
	for i := range d {
		d[i] = u32(float32(math.Cos(float64(f32(a[i])))))
	}
}

func tanhF(d, a, _, _ *row) {
	for i := range d {
		d[i] = u32(float32(math.Tanh(float64(f32(a[i])))))
	}
}

// modified applies .ftz to the operands and the result of f, and .sat to the result.
func modified(f func(d, a, b, c *row), ftz, sat bool) func(d, a, b, c *row) {
	if !ftz && !sat {
		return f
	}
	return func(d, a, b, c *row) {
		if ftz {
			var x, y, z row
			for i := range x {
				x[i], y[i], z[i] = flush(a[i]), flush(b[i]), flush(c[i])
			}
			f(d, &x, &y, &z)
			for i := range d {
				d[i] = flush(d[i])
			}
		} else {
			f(d, a, b, c)
		}
		if sat {
			for i := range d {
				d[i] = saturate(d[i])
			}
		}
	}
}

// flushed is modified for functions of one operand, as the approximate functions are.
func flushed(f func(d, a, b, c *row)) func(d, a, b, c *row) {
	return func(d, a, _, _ *row) {
		var x row
		for i := range x {
			x[i] = flush(a[i])
		}
		f(d, &x, nil, nil)
		for i := range d {
			d[i] = flush(d[i])
		}
	}
}

// halfType is one of the 16-bit formats with its packed pair.
type halfType struct {
	decode func(u uint32) float32
	encode func(x float64) uint32
}

func (t typ) half() halfType {
	if t == tF16 || t == tF16x2 {
		return halfType{
			func(u uint32) float32 { return half16[u&0xffff] },
			func(x float64) uint32 { return formatF16.encode(x, nearestEven, false) },
		}
	}
	return halfType{
		func(u uint32) float32 { return f32(u << 16) },
		func(x float64) uint32 { return encodeBF16(x) },
	}
}

// encodeBF16 rounds a float64 to bf16 once.
func encodeBF16(x float64) uint32 {
	f := float32(x)
	if u := u32(f); u&0xffff != 0x8000 && u&0x7f800000 != 0 { // not a tie: rounding twice is safe
		return bf16(u)
	}
	return formatBF16.encode(x, nearestEven, false)
}

// halfOp makes a row function for one or two 16-bit floats per register. f gets exact values
// and returns the exact or nearly exact result.
func halfOp(t typ, f func(a, b, c float32) float64) func(d, a, b, c *row) {
	h := t.half()
	one := func(a, b, c uint32) uint32 { return h.encode(f(h.decode(a), h.decode(b), h.decode(c))) }
	if t.size() == 2 {
		return each(one)
	}
	return each(func(a, b, c uint32) uint32 {
		lo := one(a&0xffff, b&0xffff, c&0xffff)
		return lo | one(a>>16, b>>16, c>>16)<<16
	})
}

// fmaExact is a·b + c rounded to odd, so that rounding it to a small format rounds once.
func fmaExact(a, b, c float32) float64 {
	p := float64(a) * float64(b)
	s := p + float64(c)
	return toOdd(p, float64(c), s)
}

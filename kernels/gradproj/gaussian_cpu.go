package gradproj

import (
	"math"
	"unsafe"

	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/scratch"
)

// gaussianCols is the width of the tile of normals that is drawn and multiplied
// at once: 64 rows of it are 64 KiB.
const gaussianCols = 256

// sumGaussian draws R tile by tile and multiplies: acc [cols][8] += Rᵀ γ.
//
// Floor: P·D normals a batch, 2·P·D flop a sample. The normals dominate up to
// dozens of samples a batch; rademacher has the same error bound and none of it.
func sumGaussian(p *Projection, s *drawing, g gradients, lo, hi, col, cols int, acc []float32) {
	s.wide = scratch.Sized(s.wide, tileRows*gaussianCols)
	for row := lo &^ (tileRows - 1); row < hi; row += tileRows {
		for c := 0; c < cols; c += gaussianCols {
			width := min(gaussianCols, cols-c)
			p.drawNormals(s.wide, row, col+c, width)
			for group := range g.groups() {
				g.tile(group, row, &s.rows)
				flat := unsafe.Slice(&s.rows[0][0], tileRows*lanes)
				gemm.Host(gemm.TN, 1, gemm.OnHost(s.wide, tileRows, width, width), gemm.OnHost(flat, tileRows, lanes, lanes), 1, gemm.OnHost(acc[(group*cols+c)*lanes:][:width*lanes], width, lanes, lanes))
			}
		}
	}
}

// drawNormals writes R of 64 rows and width columns (a multiple of 32) to r [64][width].
func (p *Projection) drawNormals(r []float32, row0, col, width int) {
	x := unsafe.Slice((*uint32)(unsafe.Pointer(&r[0])), tileRows*width)
	high := uint32(uint64(row0) >> 32)
	for i := range tileRows * width / 32 {
		row, b := i/(width/32), i%(width/32)
		group := (*[32]uint32)(x[32*i:])
		for l := range 8 {
			group[l], group[8+l], group[16+l], group[24+l] = uint32(row0+row), high, uint32(8*(col/32+b)+l), gaussianStream
		}
	}
	philoxGroups(&p.keys, x)
	normals(r[:tileRows*width], float32(1/math.Sqrt(float64(p.dim))))
}

// normalsGeneric replaces groups x [·][2][8] of random words (as the bits of
// floats) by normals times scale, cosines first.
func normalsGeneric(x []float32, scale float32) {
	for ; len(x) > 0; x = x[16:] {
		for l := range 8 {
			x[l], x[8+l] = normalPair(math.Float32bits(x[l]), math.Float32bits(x[8+l]), scale)
		}
	}
}

// normalPair is Box-Muller in float32 with every operation rounded by itself:
//
//	u = ((a>>9) + ½)·2⁻²³,  ρ = √(-2 ln u),  t = (((b<<2)>>9) - 4194303.5)·(π/2·2⁻²³)
//	scale·ρ·(cos t, sin t), turned by b>>30 quarter turns
//
// so |z| <= 5.77. ln, sin and cos are Cephes's single-precision polynomials.
func normalPair(a, b uint32, scale float32) (float32, float32) {
	r := float32(radius(a) * scale)
	t := float32((float32(b<<2>>9) - 4194303.5) * float32(math.Pi/2/8388608))
	z := float32(t * t)
	s := polynomial(z, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
	s = float32(float32(s*z)*t) + t
	c := polynomial(z, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
	c = float32(float32(c*z)*z) - float32(z*0.5) + 1
	if b>>30&1 != 0 {
		s, c = c, s
	}
	sign := func(x float32, bit uint32) float32 { return math.Float32frombits(math.Float32bits(x) ^ bit<<31) }
	return float32(sign(c, b>>31^b>>30&1) * r), float32(sign(s, b>>31) * r)
}

// radius is √(-2 ln u), u = ((a>>9)+½)·2⁻²³.
func radius(a uint32) float32 {
	f := float32(a>>9) + 0.5
	bits := math.Float32bits(f)
	e := int32(bits-0x3f3504f3) >> 23 // f = m·2^e with m in [√½, √2)
	m := math.Float32frombits(bits-uint32(e)<<23) - 1
	k := float32(e) - 23
	z := float32(m * m)
	y := polynomial(m, 7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)
	y = float32(float32(y*m)*z) + float32(k*-2.12194440e-4)
	y -= float32(z * 0.5)
	y = m + y + float32(k*0.693359375)
	return float32(math.Sqrt(float64(float32(y * -2))))
}

// polynomial is Horner's rule, the highest coefficient first.
func polynomial(x float32, c ...float32) float32 {
	y := c[0]
	for _, a := range c[1:] {
		y = float32(y*x) + a
	}
	return y
}

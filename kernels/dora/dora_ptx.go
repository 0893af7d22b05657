package dora

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed dora.sm80.ptx.br
var sm80 string

var family = ptx.New("dora", sm80)

// Parameters of the kernels of dora.cu.
type (
	squaresParameters struct {
		w, squares uintptr
		cols       int32
	}
	scalesParameters struct {
		squares, p, b, g, m, scale, inverse uintptr
		out, r                              int32
		s                                   float32
	}
	scaleParameters struct {
		z, scale, y uintptr
		n           uint64
		out         int32
		beta        float32
	}
	magnitudeParameters struct {
		dy, z, inverse, dm uintptr
		rows, out          int32
	}
)

var (
	squares    = ptx.Declare[squaresParameters](family, "dora_row_squares")
	scales     = ptx.Declare[scalesParameters](family, "dora_scales")
	scaling    = ptx.Declare[scaleParameters](family, "dora_scale")
	magnitudes = ptx.Declare[magnitudeParameters](family, "dora_magnitude")
)

const threads = 256

func rowSquaresPTX(dev driver.Launcher, w, out driver.F32) {
	rows := out.Len()
	squares.Launch(ptx.On(dev), "dora_row_squares", ptx.Grid(rows, threads), &squaresParameters{w.Addr(), out.Addr(), int32(w.Len() / rows)})
}

func scalesPTX(dev driver.Launcher, squares, p, b, g, m driver.F32, s float32, scale, inverse driver.F32) {
	out := m.Len()
	scales.Launch(ptx.On(dev), "dora_scales", ptx.Grid(ptx.Blocks(out, threads), threads), &scalesParameters{
		squares.Addr(), p.Addr(), b.Addr(), g.Addr(), m.Addr(), scale.Addr(), inverse.Addr(), int32(out), int32(p.Len() / out), s,
	})
}

func scalePTX(dev driver.Launcher, z, scale driver.F32, beta float32, y driver.F32) {
	n := z.Len()
	scaling.Launch(ptx.On(dev), "dora_scale", ptx.Grid(ptx.Blocks(n, threads), threads), &scaleParameters{
		z.Addr(), scale.Addr(), y.Addr(), uint64(n), int32(scale.Len()), beta,
	})
}

func magnitudePTX(dev driver.Launcher, dy, z, inverse, dm driver.F32) {
	out := dm.Len()
	magnitudes.Launch(ptx.On(dev), "dora_magnitude", ptx.Grid(ptx.Blocks(out, 32), threads), &magnitudeParameters{
		dy.Addr(), z.Addr(), inverse.Addr(), dm.Addr(), int32(z.Len() / out), int32(out),
	})
}

package shortconv

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed shortconv.sm80.ptx.br
var sm80 string

var family = ptx.New("shortconv", sm80)

// As in shortconv.cu.
const (
	rowsEach = 8  // rows per thread
	partRows = 32 // rows per partial sum of dw
	threads  = 128
)

// Parameters of the kernels of shortconv.cu.
type (
	convArguments struct {
		x, w, bias, bounds          uintptr
		rows, channels, width, silu int32
	}
	forwardParameters struct {
		conv convArguments
		out  uintptr
	}
	backwardParameters struct {
		conv     convArguments
		from, to uintptr
	}
	sumParameters struct {
		partial, dw, db        uintptr
		parts, channels, width int32
	}
	keptArguments struct {
		x, slots, segments, tails uintptr
		channels, width           int32
	}
	stepParameters struct {
		kept         keptArguments
		w, bias, out uintptr
		silu         int32
	}
)

var (
	forwards  = ptx.Declare[forwardParameters](family, "shortconv_forward")
	backwards = ptx.Declare[backwardParameters](family, "shortconv_slope", "shortconv_input", "shortconv_weight_partial")
	sums      = ptx.Declare[sumParameters](family, "shortconv_weight_sum")
	keeps     = ptx.Declare[ptx.One[keptArguments]](family, "shortconv_keep")
	steps     = ptx.Declare[stepParameters](family, "shortconv_step")
)

// arguments are those of a batch, with the bounds of every row's segment on the device.
func (c Conv) arguments(q *ptx.Queue, x, w, bias driver.F32, channels int) convArguments {
	var bounds []int32
	for i, end := range c.Segments[1:] {
		for range end - c.Segments[i] {
			bounds = append(bounds, c.Segments[i], end)
		}
	}
	return convArguments{
		x: x.Addr(), w: w.Addr(), bias: bias.Addr(), bounds: ptx.Upload(q, bounds),
		rows: int32(len(bounds) / 2), channels: int32(channels), width: int32(c.Width), silu: ptx.Flag(c.SiLU),
	}
}

func (a convArguments) grid(rows int) driver.Config {
	return ptx.Grid2(ptx.Blocks(int(a.channels), threads), ptx.Blocks(int(a.rows), rows), threads)
}

func (c Conv) forwardPTX(dev driver.Launcher, x, w, bias, out driver.F32, channels int) {
	q := ptx.On(dev)
	a := c.arguments(q, x, w, bias, channels)
	forwards.Launch(q, "shortconv_forward", a.grid(rowsEach), &forwardParameters{a, out.Addr()})
}

func (c Conv) backwardPTX(dev driver.Launcher, dout, x, w, bias, dx, dw, db driver.F32, channels int) {
	q := ptx.On(dev)
	a := c.arguments(q, x, w, bias, channels)
	dz := dout.Addr()
	if c.SiLU {
		dz = q.Scratch(0, 4*x.Len())
		backwards.Launch(q, "shortconv_slope", a.grid(rowsEach), &backwardParameters{a, dout.Addr(), dz})
	}
	backwards.Launch(q, "shortconv_input", a.grid(rowsEach), &backwardParameters{a, dz, dx.Addr()})
	if dw.IsNil() && db.IsNil() {
		return
	}
	parts := ptx.Blocks(int(a.rows), partRows)
	partial := q.Scratch(1, 4*parts*(c.Width+1)*channels)
	backwards.Launch(q, "shortconv_weight_partial", a.grid(partRows), &backwardParameters{a, dz, partial})
	sums.Launch(q, "shortconv_weight_sum", ptx.Grid2(ptx.Blocks(channels, threads), c.Width+1, threads), &sumParameters{
		partial: partial, dw: dw.Addr(), db: db.Addr(), parts: int32(parts), channels: int32(channels), width: int32(c.Width),
	})
}

func (c Conv) kept(q *ptx.Queue, x driver.F32, slots []int32, tails driver.F32, channels int) keptArguments {
	return keptArguments{x: x.Addr(), slots: ptx.Upload(q, slots), tails: tails.Addr(), channels: int32(channels), width: int32(c.Width)}
}

func (c Conv) keepPTX(dev driver.Launcher, x driver.F32, slots []int32, tails driver.F32, channels int) {
	q := ptx.On(dev)
	a := c.kept(q, x, slots, tails, channels)
	a.segments = ptx.Upload(q, c.Segments)
	keeps.Launch(q, "shortconv_keep", ptx.Grid2(ptx.Blocks(channels, threads), len(slots), threads), &ptx.One[keptArguments]{P: a})
}

func (c Conv) stepPTX(dev driver.Launcher, x driver.F32, slots []int32, tails, w, bias, out driver.F32, channels int) {
	q := ptx.On(dev)
	steps.Launch(q, "shortconv_step", ptx.Grid2(ptx.Blocks(channels, threads), len(slots), threads), &stepParameters{
		kept: c.kept(q, x, slots, tails, channels), w: w.Addr(), bias: bias.Addr(), out: out.Addr(), silu: ptx.Flag(c.SiLU),
	})
}

package shortconv

import (
	"slices"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

const (
	channelBlock = 64 // channels per task
	rowBlock     = 32 // rows per task
)

// taps is the memory of a task: its weights by tap, [K, channels], so that adjacent elements
// belong to adjacent channels of x; and its rows of intermediate values.
type taps struct{ w, dw, z, s []float32 }

var tapsPool = scratch.NewPool[taps](64)

// take returns memory for the taps of n channels, filled from w [channels, K].
func (c Conv) take(w []float32, n int) *taps {
	t := tapsPool.Take()
	t.w, t.dw = scratch.Sized(t.w, c.Width*n), scratch.Sized(t.dw, c.Width*n)
	t.z, t.s = scratch.Sized(t.z, n), scratch.Sized(t.s, n)
	for j := range c.Width {
		for i := range n {
			t.w[j*n+i] = w[i*c.Width+j]
		}
	}
	return t
}

// blocks calls f with ranges of channels and of rows, on all threads.
func blocks(d *cpu.Device, channels, rows int, f func(from, to, lo, hi int)) {
	across, down := (channels+channelBlock-1)/channelBlock, (rows+rowBlock-1)/rowBlock
	d.Parallel(across*down, func(i int) {
		from, lo := i%across*channelBlock, i/across*rowBlock
		f(from, min(channels, from+channelBlock), lo, min(rows, lo+rowBlock))
	})
}

func (c Conv) forwardCPU(d *cpu.Device, x, w, bias, out []float32, channels int) {
	rows := int(c.Segments[len(c.Segments)-1])
	blocks(d, channels, rows, func(from, to, lo, hi int) {
		t := c.take(w[from*c.Width:to*c.Width], to-from)
		segment, _ := slices.BinarySearch(c.Segments, int32(lo+1))
		for row := lo; row < hi; row++ {
			if row == int(c.Segments[segment]) {
				segment++
			}
			c.convolve(t, x, bias, row, int(c.Segments[segment-1]), from, to, channels)
			c.finish(t, out[row*channels+from:row*channels+to])
		}
		tapsPool.Give(t)
	})
}

// convolve computes z of a row, whose segment starts with row first.
func (c Conv) convolve(t *taps, x, bias []float32, row, first, from, to, channels int) {
	t.start(bias, from, to)
	for j := range c.Width {
		if at := row - c.Width + 1 + j; at >= first {
			t.add(j, x[at*channels+from:at*channels+to])
		}
	}
}

// start sets z to the bias, or 0.
func (t *taps) start(bias []float32, from, to int) {
	if bias == nil {
		clear(t.z)
	} else {
		copy(t.z, bias[from:to])
	}
}

// add adds tap j applied to the row x to z.
func (t *taps) add(j int, x []float32) {
	z := t.z[:len(x)]
	w := t.w[j*len(x):][:len(x)]
	for i, v := range x {
		z[i] += w[i] * v
	}
}

// finish computes out from z.
func (c Conv) finish(t *taps, out []float32) {
	if c.SiLU {
		simd.Silu(out, t.z)
	} else {
		copy(out, t.z)
	}
}

// backwardCPU gives a task some channels and all rows: sums over rows are in order.
func (c Conv) backwardCPU(d *cpu.Device, dout, x, w, bias, dx, dw, db []float32, channels int) {
	rows := int(c.Segments[len(c.Segments)-1])
	d.Parallel((channels+channelBlock-1)/channelBlock, func(b int) {
		from := b * channelBlock
		to := min(channels, from+channelBlock)
		t := c.take(w[from*c.Width:to*c.Width], to-from)
		clear(t.dw)
		segment := 0
		for row := range rows {
			if row == int(c.Segments[segment]) {
				segment++
			}
			first := int(c.Segments[segment-1])
			c.backwardSiLU(t, dout[row*channels+from:row*channels+to], x, bias, row, first, from, to, channels)
			if db != nil {
				simd.Add(db[from:to], db[from:to], t.z)
			}
			clear(dx[row*channels+from : row*channels+to])
			for j := range c.Width {
				if at := row - c.Width + 1 + j; at >= first {
					t.backwardTap(j, x[at*channels+from:at*channels+to], dx[at*channels+from:at*channels+to])
				}
			}
		}
		if dw != nil {
			c.addTaps(t, dw[from*c.Width:to*c.Width], to-from)
		}
		tapsPool.Give(t)
	})
}

// backwardSiLU sets z to the gradient of a row's z.
func (c Conv) backwardSiLU(t *taps, dout, x, bias []float32, row, first, from, to, channels int) {
	if !c.SiLU {
		copy(t.z, dout)
		return
	}
	c.convolve(t, x, bias, row, first, from, to, channels)
	simd.Sigmoid(t.s, t.z)
	for i, s := range t.s {
		t.z[i] = dout[i] * s * (1 + t.z[i]*(1-s))
	}
}

// backwardTap adds the contributions of z's gradient to dx and to the taps' gradients, for tap j
// of the row x.
func (t *taps) backwardTap(j int, x, dx []float32) {
	n := len(x)
	z, dx, w, dw := t.z[:n], dx[:n], t.w[j*n:][:n], t.dw[j*n:][:n]
	for i, v := range x {
		dx[i] += w[i] * z[i]
		dw[i] += v * z[i]
	}
}

func (c Conv) addTaps(t *taps, dw []float32, n int) {
	for j := range c.Width {
		for i := range n {
			dw[i*c.Width+j] += t.dw[j*n+i]
		}
	}
}

func (c Conv) keepCPU(d *cpu.Device, x []float32, slots []int32, tails []float32, channels int) {
	d.Parallel(len(slots), func(i int) {
		first, end := int(c.Segments[i]), int(c.Segments[i+1])
		for j := range c.Width - 1 {
			row := tails[(int(slots[i])*(c.Width-1)+j)*channels:][:channels]
			if at := end - c.Width + 1 + j; at >= first {
				copy(row, x[at*channels:(at+1)*channels])
			} else {
				clear(row)
			}
		}
	})
}

func (c Conv) stepCPU(d *cpu.Device, x []float32, slots []int32, tails, w, bias, out []float32, channels int) {
	blocks(d, channels, len(slots), func(from, to, lo, hi int) {
		t := c.take(w[from*c.Width:to*c.Width], to-from)
		for i := lo; i < hi; i++ {
			tail := tails[int(slots[i])*(c.Width-1)*channels:][:(c.Width-1)*channels]
			row := x[i*channels+from : i*channels+to]
			t.start(bias, from, to)
			for j := range c.Width - 1 {
				t.add(j, tail[j*channels+from:j*channels+to])
			}
			t.add(c.Width-1, row)
			for j := range c.Width - 1 { // the rows move up by one
				next := row
				if j < c.Width-2 {
					next = tail[(j+1)*channels+from : (j+1)*channels+to]
				}
				copy(tail[j*channels+from:j*channels+to], next)
			}
			c.finish(t, out[i*channels+from:i*channels+to])
		}
		tapsPool.Give(t)
	})
}

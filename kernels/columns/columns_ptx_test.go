package columns_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/columns"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestPTX: the host's bits, with rows that are 16-byte aligned and rows that are not.
func TestPTX(t *testing.T) {
	host, dev := optest.CPU(t, 1), optest.Device(t, 80)
	for _, c := range []struct{ rows, width, from, n, shift int }{
		{70, 7, 2, 4, 0}, {1, 5, 0, 5, 1}, {33, 260, 128, 132, 0}, {9, 12, 3, 8, 0}, {300, 3, 2, 1, 0}, {5, 16, 4, 8, 2}, {0, 3, 0, 1, 0},
	} {
		r := optest.Rand(uint64(c.width))
		x, more := optest.Normal(r, c.rows*c.width, 1), optest.Normal(r, c.rows*c.n, 1)
		want, sum := make([]float32, c.rows*c.n), append([]float32(nil), x...)
		columns.Take(host, optest.Dev(x), c.width, c.from, optest.Dev(want), c.n)
		columns.Add(host, optest.Dev(more), c.n, optest.Dev(sum), c.width, c.from)

		wide, narrow := optest.In(t, dev, x, c.shift), optest.In(t, dev, make([]float32, len(more)), c.shift)
		columns.Take(dev, wide, c.width, c.from, narrow, c.n)
		optest.Same(t, "taken", optest.Out(t, dev, narrow), want)
		columns.Add(dev, optest.In(t, dev, more, 0), c.n, wide, c.width, c.from)
		optest.Same(t, "added", optest.Out(t, dev, wide), sum)
	}
}

func TestPTXTraffic(t *testing.T) {
	dev := optest.Sim(t)
	const rows, width, n = 16, 1536, 512
	wide, narrow := optest.In(t, dev, make([]float32, rows*width), 0), optest.In(t, dev, make([]float32, rows*n), 0)
	columns.Take(dev, wide, width, 256, narrow, n)
	optest.Frugal(t, dev, "columns_take", 2*4*rows*n)
	columns.Add(dev, narrow, n, wide, width, 256)
	optest.Frugal(t, dev, "columns_add", 3*4*rows*n)
}

package columns_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/columns"
	"dataflex.dev/dataflex/kernels/optest"
)

func TestTakeAndAdd(t *testing.T) {
	const rows, width, from, n = 70, 7, 2, 4
	x := optest.Normal(optest.Rand(1), rows*width, 1)
	for _, threads := range optest.Threads {
		dev, f := optest.CPU(t, threads), optest.Dev
		out := make([]float32, rows*n)
		columns.Take(dev, f(x), width, from, f(out), n)
		sum := append([]float32(nil), x...)
		columns.Add(dev, f(out), n, f(sum), width, from)
		for i, v := range x {
			r, c := i/width, i%width
			want := v
			if c >= from && c < from+n {
				want = 2 * v
				if out[r*n+c-from] != v {
					t.Fatalf("row %d column %d: %v, want %v", r, c, out[r*n+c-from], v)
				}
			}
			if sum[i] != want {
				t.Fatalf("row %d column %d of the sum: %v, want %v", r, c, sum[i], want)
			}
		}
	}
}

func TestPanics(t *testing.T) {
	dev, f := optest.CPU(t, 1), optest.Dev
	x := f(make([]float32, 12))
	optest.Panics(t, "columns: the columns are not within the width", func() { columns.Take(dev, x, 3, 1, x, 3) })
	optest.Panics(t, "columns: a tensor's length is not its shape's", func() { columns.Add(dev, x, 2, x, 3, 1) })
}

package quant_test

import (
	"fmt"
	"os"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/quant"
)

// thorough asks for every format in every kernel, instead of a format or two in each.
var thorough = os.Getenv("DATAFLEX_THOROUGH") != ""

// deviceShapes are [m, rows, cols]: W within a tile, beyond it in both directions, with blocks
// that continue from one row into the next (112 columns), and with steps that fill no slice.
var deviceShapes = [][3]int{{3, 7, 64}, {35, 136, 112}, {5, 41, 136}}

// TestTilesOfCodes: float32 products in every size of tile have the bits of gemm's with the
// decoded matrix.
func TestTilesOfCodes(t *testing.T) {
	dev := optest.Device(t, 80)
	for h, size := range quant.Tiles() {
		for i, s := range deviceShapes {
			for j, name := range []string{"nf4", "double", "fp4", "int8", "blocks of 128"} {
				if (h+i+j)%4 > 0 && !thorough {
					continue
				}
				m, rows, cols := s[0], s[1], s[2]
				w, plain := place(t, dev, formats[name], rows, cols, uint64(i))
				for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN} {
					k, n := cols, rows
					if tr == gemm.NN {
						k, n = rows, cols
					}
					r := optest.Rand(9)
					a, c := gemm.Dense(optest.In(t, dev, optest.Normal(r, m*k, 1), 0), m, k), optest.Normal(r, m*n, 1)
					got, want := optest.In(t, dev, c, 0), optest.In(t, dev, c, 0)
					w.MultiplyTiles(dev, size, tr, 1.5, a, 1, gemm.Dense(got, m, n))
					gemm.Run(dev, tr, 1.5, a, gemm.Dense(optest.In(t, dev, plain, 0), rows, cols), 1, gemm.Dense(want, m, n))
					optest.Same(t, fmt.Sprint(name, " ", s, " ", tr, " in ", size), optest.Out(t, dev, got), optest.Out(t, dev, want))
				}
			}
		}
	}
}

// narrow puts x on dev in bf16.
func narrow(t *testing.T, dev driver.Device, x []float32) driver.Slice[driver.BF16] {
	t.Helper()
	m, err := dev.Alloc(2 * len(x))
	if err != nil {
		t.Fatal(err)
	}
	s := driver.View[driver.BF16](m)
	if err := driver.Write(dev, s, func(y []driver.BF16) error {
		for i, v := range x {
			y[i] = nearestEven(v)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTilesOfCodesBF16: so have bf16 products, with and without a branch, on sm_80 and in both
// of Hopper's tiles, where a block takes several tiles one after the other.
func TestTilesOfCodesBF16(t *testing.T) {
	for h, dev := range []driver.Launcher{optest.Device(t, 80), optest.Multiprocessors(t, 90, 1), optest.Multiprocessors(t, 90, 2)} {
		for i, s := range [][3]int{{3, 7, 64}, {130, 248, 112}, {5, 72, 248}} {
			for j, name := range []string{"nf4", "double", "fp4", "int8", "blocks of 128"} {
				if (h+i+j)%4 > 0 && !thorough {
					continue
				}
				m, rows, cols := s[0], s[1], s[2]
				w, plain := place(t, dev, formats[name], rows, cols, uint64(i))
				b := gemm.Dense(narrow(t, dev, plain), rows, cols)
				for _, tr := range []gemm.Transpose{gemm.NT, gemm.NN} {
					k, n := cols, rows
					if tr == gemm.NN {
						k, n = rows, cols
					}
					const rank = 5
					r := optest.Rand(9)
					kPadded := (k + 7) / 8 * 8
					a := gemm.Strided(narrow(t, dev, optest.Normal(r, m*kPadded, 1)), m, k, kPadded)
					u := gemm.Strided(narrow(t, dev, optest.Normal(r, m*8, 1)), m, rank, 8)
					l := gemm.Strided(narrow(t, dev, optest.Normal(r, n*8, 1)), n, rank, 8)
					if tr == gemm.NN {
						l = gemm.Dense(narrow(t, dev, optest.Normal(r, rank*n, 1)), rank, n)
					}
					c := optest.Normal(r, m*n, 1)
					what := fmt.Sprint(dev.Attributes().Capability, " ", name, " ", s, " ", tr)
					got, want := optest.In(t, dev, c, 0), optest.In(t, dev, c, 0)
					w.MultiplyBF16(dev, tr, 2, a, 1, gemm.Dense(got, m, n))
					gemm.RunBF16(dev, tr, 2, a, b, 1, gemm.Dense(want, m, n))
					optest.Same(t, what, optest.Out(t, dev, got), optest.Out(t, dev, want))
					w.MultiplyLoRABF16(dev, tr, a, u, l, 0, gemm.Dense(got, m, n))
					gemm.RunLoRABF16(dev, tr, a, b, u, l, 0, gemm.Dense(want, m, n))
					optest.Same(t, what+" with a branch", optest.Out(t, dev, got), optest.Out(t, dev, want))
				}
			}
		}
	}
}

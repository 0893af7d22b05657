package dev_test

import (
	_ "embed"
	"fmt"
	"math"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed probe.sm90a.ptx.br
var hopperProbe string

// halves copies integers to the device as bf16.
func halves(t *testing.T, dev driver.Device, x []float32) uintptr {
	b := make([]float32, (len(x)+1)/2)
	h := unsafe.Slice((*uint16)(unsafe.Pointer(&b[0])), len(x))
	for i, v := range x {
		h[i] = uint16(math.Float32bits(v) >> 16)
	}
	return optest.In(t, dev, b, 0).Addr()
}

// hopperParameters are those of a product of one tile: the factors and the product.
type hopperParameters struct{ a, b, c driver.EncodedTensorMap }

var hopperProbes = ptx.Declare[hopperParameters](ptx.New("hopper probe", hopperProbe), "probe_*")

// TestHopperLayouts compares every operand layout of hopper.cuh with plain loops. The
// numbers are small integers: the sums are exact.
func TestHopperLayouts(t *testing.T) {
	dev, r := optest.Device(t, 90), optest.Rand(5)
	for _, c := range []struct {
		n              int
		transA, transB bool
	}{{32, false, false}, {64, false, true}, {96, true, false}, {128, true, true}, {192, false, true}, {256, false, false}} {
		a, b := make([]float32, 64*64), make([]float32, c.n*64)
		for _, s := range [][]float32{a, b} {
			for i := range s {
				s[i] = float32(r.IntN(17) - 8)
			}
		}
		q, columns := ptx.On(dev), 64
		rowsB, boxB := c.n, c.n
		if c.transB {
			rowsB, boxB, columns = 64, 64, c.n
		}
		out := optest.In(t, dev, make([]float32, 64*c.n), 0)
		tiles := hopperParameters{a: q.Tiles(halves(t, dev, a), 64, 64, 64, 64), b: q.Tiles(halves(t, dev, b), rowsB, columns, columns, boxB)}
		tiles.c = q.TensorMap(driver.TensorMap{
			Type: driver.TensorF32, Addr: out.Addr(), Dims: []uint64{uint64(c.n), 64}, Strides: []uint64{uint64(4 * c.n)}, Box: []uint32{32, 64},
		})
		cfg := ptx.Grid(1, 128)
		cfg.Shared = 64*128 + c.n*128 + 64*c.n*4 + 8
		hopperProbes.Launch(q, fmt.Sprintf("probe_%d", c.n), cfg, &tiles)
		want := optest.Mul(a, b, 64, c.n, 64, c.transA, !c.transB)
		optest.Same(t, fmt.Sprintf("N = %d", c.n), optest.Out(t, dev, out), want)
	}
}

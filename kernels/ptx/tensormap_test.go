package ptx_test

import (
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

func TestTensorMapsAreKept(t *testing.T) {
	dev := optest.Hopper(t)
	q := ptx.On(dev)
	x := optest.In(t, dev, make([]float32, 64*32), 0)
	a, b := q.Tiles(x.Addr(), 32, 64, 64, 32), q.Tiles(x.Addr(), 32, 64, 64, 16)
	want, err := dev.EncodeTensorMap(driver.TensorMap{
		Type: driver.TensorBF16, Addr: x.Addr(), Dims: []uint64{64, 32}, Strides: []uint64{128}, Box: []uint32{64, 32}, Swizzle: 128,
	})
	if err != nil {
		t.Fatal(err)
	}
	if a != want || b == want {
		t.Error("not the map that was asked for")
	}
	if n := testing.AllocsPerRun(100, func() {
		if q.Tiles(x.Addr(), 32, 64, 64, 32) != a {
			t.Error("another map for the same tensor")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a map that is there", n)
	}
	for i := range 5000 { // more than are kept
		q.Tiles(x.Addr(), i+1, 64, 64, 8)
	}
	if a != want || q.Tiles(x.Addr(), 32, 64, 64, 32) != want {
		t.Error("a map changed")
	}
	optest.Panics(t, "ptx: a tensor map: sim: tensor map: address "+fmt.Sprintf("%#x", x.Addr()+8)+" is not 16-byte aligned", func() { q.Tiles(x.Addr()+8, 1, 64, 64, 8) })
}

// encodes counts the maps that are requested from a device.
type encodes struct {
	driver.Launcher
	attachment driver.Attachment
	n          int
}

func (e *encodes) Attached() *any { return e.attachment.Attached() }

func (e *encodes) EncodeTensorMap(t driver.TensorMap) (driver.EncodedTensorMap, error) {
	e.n++
	return e.Launcher.EncodeTensorMap(t)
}

// TestTensorMapsGoOneByOne: beyond the limit a new map replaces one old one, not all of
// them.
func TestTensorMapsGoOneByOne(t *testing.T) {
	dev := &encodes{Launcher: optest.Hopper(t)}
	q, x := ptx.On(dev), optest.In(t, dev, make([]float32, 64*32), 0)
	const kept = 4096
	for i := range kept + 100 {
		q.Tiles(x.Addr(), i+1, 64, 64, 8)
	}
	before := dev.n
	for i := range kept {
		q.Tiles(x.Addr(), i+101, 64, 64, 8)
	}
	// At most 100 are missing, and one that is added again may replace another: that many
	// again, and again a share of those.
	if again := dev.n - before; again == 0 || again > 400 {
		t.Errorf("%d of %d maps were made again", again, kept)
	}
}

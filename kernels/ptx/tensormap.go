package ptx

import (
	"fmt"
	"slices"

	"dataflex.dev/dataflex/driver"
)

// maxTensorMaps bounds the memory of a queue whose tensors keep moving: batches of other
// lengths have activations of other shapes.
const maxTensorMaps = 4096

// tensorKey is a driver.TensorMap that can be compared.
type tensorKey struct {
	typ     driver.TensorType
	rank    int
	swizzle int
	addr    uintptr
	dims    [5]uint64
	strides [4]uint64
	box     [5]uint32
}

// TensorMap returns t as the device reads it, for a parameter. Maps are kept by their
// contents: one that was asked for before costs a lookup and allocates nothing. What the
// device refuses (an address off 16 bytes, a box over 256) panics.
func (q *Queue) TensorMap(t driver.TensorMap) driver.EncodedTensorMap {
	k := tensorKey{typ: t.Type, rank: len(t.Dims), swizzle: t.Swizzle, addr: t.Addr}
	if copy(k.dims[:], t.Dims) != len(t.Dims) || copy(k.strides[:], t.Strides) != len(t.Strides) || copy(k.box[:], t.Box) != len(t.Box) {
		panic(&Error{"a tensor map", fmt.Errorf("%d dimensions", len(t.Dims))})
	}
	if m, ok := q.tensorMaps[k]; ok {
		return m
	}
	if len(q.tensorMaps) >= maxTensorMaps { // any one makes room: the weights' come back soon enough
		for old := range q.tensorMaps {
			delete(q.tensorMaps, old)
			break
		}
	}
	// Clones, so that the caller's lists stay off the heap.
	own := driver.TensorMap{Type: t.Type, Addr: t.Addr, Swizzle: t.Swizzle, Dims: slices.Clone(t.Dims), Strides: slices.Clone(t.Strides), Box: slices.Clone(t.Box)}
	m, err := q.dev.EncodeTensorMap(own)
	must("a tensor map", err)
	q.tensorMaps[k] = m
	return m
}

// Tiles is the map of a row-major bf16 matrix [rows, columns] at addr, whose rows begin
// stride elements apart, for boxes of boxRows x 64 elements with 128-byte swizzle: what
// kernels/dev/hopper.cuh calls a tile. Addresses and rows lie on 16 bytes.
func (q *Queue) Tiles(addr uintptr, rows, columns, stride, boxRows int) driver.EncodedTensorMap {
	return q.TensorMap(driver.TensorMap{
		Type: driver.TensorBF16, Addr: addr, Dims: []uint64{uint64(columns), uint64(rows)}, Strides: []uint64{2 * uint64(stride)},
		Box: []uint32{64, uint32(boxRows)}, Swizzle: 128,
	})
}

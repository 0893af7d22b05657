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

// TensorMap returns t in the form that the device reads, for a parameter. Maps are kept by
// their contents: a repeated one costs a lookup and allocates nothing. It panics with the
// device's error (an address that is not 16-byte aligned, a box over 256).
func (q *Queue) TensorMap(t driver.TensorMap) driver.EncodedTensorMap {
	k := tensorKey{typ: t.Type, rank: len(t.Dims), swizzle: t.Swizzle, addr: t.Addr}
	if copy(k.dims[:], t.Dims) != len(t.Dims) || copy(k.strides[:], t.Strides) != len(t.Strides) || copy(k.box[:], t.Box) != len(t.Box) {
		panic(&Error{"a tensor map", fmt.Errorf("%d dimensions", len(t.Dims))})
	}
	if m, ok := q.tensorMaps[k]; ok {
		return m
	}
	if len(q.tensorMaps) >= maxTensorMaps { // remove any one: those of the weights are soon added again
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

// Tiles is the map of a row-major bf16 matrix [rows, columns] at addr, with rows at
// intervals of stride elements, for boxes of boxRows x 64 elements with 128-byte swizzle: a
// tile in kernels/dev/hopper.cuh. Addresses and rows are 16-byte aligned.
func (q *Queue) Tiles(addr uintptr, rows, columns, stride, boxRows int) driver.EncodedTensorMap {
	return q.TensorMap(driver.TensorMap{
		Type: driver.TensorBF16, Addr: addr, Dims: []uint64{uint64(columns), uint64(rows)}, Strides: []uint64{2 * uint64(stride)},
		Box: []uint32{64, uint32(boxRows)}, Swizzle: 128,
	})
}

package cuda

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
)

// checkTensorMap checks t against the rules of cuTensorMapEncodeTiled, which itself only
// returns CUDA_ERROR_INVALID_VALUE. Source: CUDA driver API, tensor map object management.
func checkTensorMap(t driver.TensorMap) error {
	rank := len(t.Dims)
	switch {
	case rank < 1 || rank > 5:
		return fmt.Errorf("%d dimensions, 1 to 5 are possible", rank)
	case len(t.Strides) != rank-1:
		return fmt.Errorf("%d strides for %d dimensions, want one fewer than dimensions", len(t.Strides), rank)
	case len(t.Box) != rank:
		return fmt.Errorf("a box of %d extents for %d dimensions", len(t.Box), rank)
	case t.Addr == 0 || t.Addr%16 != 0:
		return fmt.Errorf("address %#x is not a multiple of 16", t.Addr)
	}
	for i, n := range t.Dims {
		if n < 1 || n > 1<<32 {
			return fmt.Errorf("dimension %d is %d, 1 to 2^32 are possible", i, n)
		}
	}
	for i, s := range t.Strides {
		if s%16 != 0 || s >= 1<<40 {
			return fmt.Errorf("stride %d is %d bytes, want a multiple of 16 below 2^40", i, s)
		}
	}
	for i, n := range t.Box {
		if n < 1 || n > 256 {
			return fmt.Errorf("box extent %d is %d, 1 to 256 are possible", i, n)
		}
	}
	inner := int(t.Box[0]) * t.Type.Size()
	switch t.Swizzle {
	case 0:
	case 32, 64, 128:
		if inner > t.Swizzle {
			return fmt.Errorf("the box is %d bytes wide, a swizzle of %d takes no more than that", inner, t.Swizzle)
		}
	default:
		return fmt.Errorf("swizzle %d, want 0, 32, 64 or 128", t.Swizzle)
	}
	if inner%16 != 0 {
		return fmt.Errorf("the box is %d bytes wide, want a multiple of 16", inner)
	}
	return nil
}

//go:build cuda && cgo && linux

package cuda

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
)

// EncodeTensorMap has the driver write the 128 bytes that TMA instructions read.
func (d *Device) EncodeTensorMap(t driver.TensorMap) (driver.EncodedTensorMap, error) {
	var m driver.EncodedTensorMap
	if err := checkTensorMap(t); err != nil {
		return m, fmt.Errorf("cuda: tensor map: %w", err)
	}
	if err := d.result("cuTensorMapEncodeTiled", nativeTensorMap(d.ctx, t, &m)); err != nil {
		return m, fmt.Errorf("cuda: tensor map of %v, box %v, swizzle %d: %w", t.Dims, t.Box, t.Swizzle, err)
	}
	return m, nil
}

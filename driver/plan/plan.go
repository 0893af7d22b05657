// Package plan implements a device that only counts: allocations return addresses, launches
// do nothing, memory reads as zeros. A pass on it takes the memory that the same pass takes
// on the planned device, in the time of the host's part alone.
//
// On the plan of a CPU kernels are skipped entirely, because their host twins have no
// scratch memory on the device (see kernels/dispatch).
package plan

import (
	"errors"
	"fmt"

	"dataflex.dev/dataflex/driver"
)

// Device implements driver.Launcher.
type Device struct {
	driver.Attachment
	kind       driver.Kind
	attributes driver.Attributes
	next       uintptr
	used, high uint64
}

// New returns a device that counts for like.
func New(like driver.Device) *Device {
	return &Device{kind: like.Kind(), attributes: like.Attributes(), next: alignment}
}

// alignment of addresses: at least that of every device.
const alignment = 256

// Kind is that of the planned device.
func (d *Device) Kind() driver.Kind { return d.kind }

// Attributes are those of the planned device.
func (d *Device) Attributes() driver.Attributes { return d.attributes }

// Alloc returns addresses; it never fails, because its purpose is to find out how much
// memory is needed.
func (d *Device) Alloc(n int) (driver.Memory, error) {
	m := driver.DeviceMemory(d.next, n)
	d.next += uintptr(n+alignment-1) / alignment * alignment
	d.used += uint64(n)
	d.high = max(d.high, d.used)
	return m, nil
}

// Free subtracts the size of m.
func (d *Device) Free(m driver.Memory) { d.used -= uint64(m.Size()) }

// CopyIn does nothing.
func (d *Device) CopyIn(driver.Memory, []byte) error { return nil }

// Copy does nothing.
func (d *Device) Copy(_, _ driver.Memory) error { return nil }

// CopyOut writes zeros.
func (d *Device) CopyOut(dst []byte, _ driver.Memory) error { clear(dst); return nil }

// Used is the number of bytes allocated and not freed.
func (d *Device) Used() uint64 { return d.used }

// HighWater is the largest Used so far.
func (d *Device) HighWater() uint64 { return d.high }

// Synchronize does nothing.
func (d *Device) Synchronize() error { return nil }

// Close drops what is attached.
func (d *Device) Close() error { *d.Attached() = nil; return nil }

// LoadModule accepts any text.
func (d *Device) LoadModule(string, []byte) (driver.Module, error) { return module{}, nil }

// Launch does nothing except that it refuses grids that no GPU accepts: it is used with
// shapes that are too large for an interpreter.
func (d *Device) Launch(f driver.Function, c driver.Config, _ *driver.Args) error {
	if c.Grid.X > maxGridX || c.Grid.Y > maxGridYZ || c.Grid.Z > maxGridYZ {
		return fmt.Errorf("plan: launch %s: a grid of %dx%dx%d blocks, a GPU accepts %dx%dx%d", f.Name(), c.Grid.X, c.Grid.Y, c.Grid.Z, maxGridX, maxGridYZ, maxGridYZ)
	}
	return nil
}

// Limits on the blocks of a grid, by axis (CUDA C++ Programming Guide, table of compute
// capabilities).
const (
	maxGridX  = 1<<31 - 1
	maxGridYZ = 65535
)

// EncodeTensorMap returns an empty map.
func (d *Device) EncodeTensorMap(driver.TensorMap) (driver.EncodedTensorMap, error) {
	return driver.EncodedTensorMap{}, nil
}

var errTime = errors.New("plan: nothing runs, so there is neither order nor time")

// NewStream returns an error.
func (d *Device) NewStream() (driver.Stream, error) { return nil, errTime }

// NewEvent returns an error.
func (d *Device) NewEvent() (driver.Event, error) { return nil, errTime }

type module struct{}

func (module) Function(name string) (driver.Function, error) { return function(name), nil }
func (module) Unload() error                                 { return nil }

type function string

func (f function) Name() string                          { return string(f) }
func (f function) Attributes() driver.FunctionAttributes { return driver.FunctionAttributes{} }

var _ driver.Launcher = (*Device)(nil)

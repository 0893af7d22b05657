//go:build cuda && cgo && linux

package cuda

import (
	"fmt"

	"gorgonia.org/cu"

	"dataflex.dev/dataflex/driver"
)

// function is one kernel.
type function struct {
	d       *Device
	name    string
	fn      cu.Function
	entry   entry
	attr    driver.FunctionAttributes
	dynamic int // dynamic shared memory that it may currently use
}

func (f *function) Name() string { return f.name }

func (f *function) Attributes() driver.FunctionAttributes { return f.attr }

// Launch queues one run of f: one C call, no allocation. Before the driver sees them, the
// arguments are compared with the PTX's parameter list, and block and shared memory with the
// limits of the kernel and the GPU.
func (d *Device) Launch(f driver.Function, c driver.Config, args *driver.Args) error {
	fn, ok := f.(*function)
	if !ok || fn.d != d {
		panic("cuda: Launch of a kernel that is not of this device")
	}
	s := d.stream(c.Stream)
	if err := fn.entry.accepts(args.Spans()); err != nil {
		return fn.fault(c, err)
	}
	if n := c.Block.Count(); n > fn.attr.MaxThreads {
		return fn.fault(c, fmt.Errorf("%d threads per block, the kernel takes %d", n, fn.attr.MaxThreads))
	}
	if c.Shared > fn.dynamic {
		if err := fn.raiseShared(c.Shared); err != nil {
			return fn.fault(c, err)
		}
	}
	// An error of an earlier kernel can come from this call, so last is set after it.
	err := d.result("cuLaunchKernel", nativeLaunch(d.ctx, fn.fn, ones(c.Grid), ones(c.Block), c.Shared, s, args))
	if err != nil {
		return fn.fault(c, err)
	}
	d.last = fn.name
	return nil
}

// raiseShared requests more dynamic shared memory than a kernel gets by default.
func (f *function) raiseShared(n int) error {
	if total := n + f.attr.SharedBytes; total > f.d.props.SharedPerBlock {
		return fmt.Errorf("%d bytes of shared memory (%d dynamic, %d static), %s has %d per block",
			total, n, f.attr.SharedBytes, f.d.props.Name, f.d.props.SharedPerBlock)
	}
	if err := f.d.do("cuFuncSetAttribute", func() int { return nativeMaxDynamicShared(f.fn, n) }); err != nil {
		return err
	}
	f.dynamic = n
	return nil
}

// fault adds the launch to err.
func (f *function) fault(c driver.Config, err error) error {
	g, b := ones(c.Grid), ones(c.Block)
	return fmt.Errorf("cuda: launch %s, grid %dx%dx%d, block %dx%dx%d, %d bytes shared: %w",
		f.name, g.X, g.Y, g.Z, b.X, b.Y, b.Z, c.Shared, err)
}

// ones replaces the zeros of d, which count as 1.
func ones(d driver.Dim) driver.Dim {
	return driver.Dim{X: max(d.X, 1), Y: max(d.Y, 1), Z: max(d.Z, 1)}
}

//go:build cgo && linux

package nccl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/drivertest"
)

// work is a case: the device that each rank opens, and what it does with the job.
type work struct {
	device func() (driver.Device, error)
	run    func(context.Context, driver.Collective, driver.Device) error
}

// hostGPU is a device whose memory is mapped pages that are only known by their addresses:
// the fake library copies from and to them where no CUDA driver is open.
type hostGPU struct {
	driver.Device
	pages map[uintptr][]byte
}

func onHost() (driver.Device, error) { return &hostGPU{pages: map[uintptr][]byte{}}, nil }

func (d *hostGPU) Kind() driver.Kind { return driver.CUDA }

func (d *hostGPU) Alloc(n int) (driver.Memory, error) {
	b, err := syscall.Mmap(-1, 0, max(n, 1), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return driver.Memory{}, err
	}
	at := uintptr(unsafe.Pointer(&b[0]))
	d.pages[at] = b
	return driver.DeviceMemory(at, n), nil
}

func (d *hostGPU) Free(m driver.Memory) {
	_ = syscall.Munmap(d.pages[m.Addr()])
	delete(d.pages, m.Addr())
}

func (d *hostGPU) CopyIn(dst driver.Memory, src []byte) error {
	copy(d.pages[dst.Addr()], src)
	return nil
}

func (d *hostGPU) CopyOut(dst []byte, src driver.Memory) error {
	copy(dst, d.pages[src.Addr()])
	return nil
}

func (d *hostGPU) Share(f func(unsafe.Pointer) error) error { return f(nil) }
func (d *hostGPU) Busy() (bool, error)                      { return false, nil }

// cases are what the ranks of a job do.
var cases = map[string]work{
	"values":            {onHost, values},
	"absent":            {onHost, nil},
	"aborted meanwhile": {onHost, abortedMeanwhile},
	"order": {onHost, func(ctx context.Context, c driver.Collective, dev driver.Device) error {
		in := make([]float32, 3*256)
		for i := range in {
			in[i] = []float32{1, 1e8, -1e8}[c.Rank()]
		}
		got, err := drivertest.Move(dev, in, 256, func(in, out driver.F32) error { return c.ReduceScatter(ctx, in, out) })
		if err != nil {
			return err
		}
		fmt.Println(got[0], got[64], got[128])
		return nil
	}},
	"another length": {onHost, func(ctx context.Context, c driver.Collective, dev driver.Device) error {
		n := 8 + c.Rank()
		_, err := drivertest.Move(dev, make([]float32, n), 2*n, func(in, out driver.F32) error { return c.AllGather(ctx, in, out) })
		return err
	}},
	"another part": {onHost, func(ctx context.Context, c driver.Collective, dev driver.Device) error {
		n := 8 + 2*c.Rank()
		_, err := drivertest.Move(dev, make([]float32, n), n, func(in, out driver.F32) error { return c.AllToAll(ctx, in, out) })
		return err
	}},
	"another call": {onHost, func(ctx context.Context, c driver.Collective, dev driver.Device) error {
		if c.Rank() == 1 {
			return c.Barrier(ctx)
		}
		_, err := drivertest.Move(dev, make([]float32, 8), 8, func(in, out driver.F32) error { return c.AllToAll(ctx, in, out) })
		return err
	}},
	"left": {onHost, func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if c.Rank() == 1 {
			return nil
		}
		return c.Barrier(ctx)
	}},
	"killed": {onHost, func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if c.Rank() == 1 {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return c.Barrier(ctx)
	}},
	"late": {onHost, func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if c.Rank() == 1 { // until rank 0 has aborted, which makes this rank's own call fail
			<-time.After(500 * time.Millisecond)
			return c.Barrier(ctx)
		}
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		return c.Barrier(ctx)
	}},
	"aborted": {onHost, func(ctx context.Context, c driver.Collective, _ driver.Device) error {
		if c.Rank() == 1 {
			c.Abort(errors.New("disk full"))
		}
		return c.Barrier(ctx)
	}},
}

// abortedMeanwhile: another goroutine aborts the job during calls.
func abortedMeanwhile(ctx context.Context, c driver.Collective, _ driver.Device) error {
	if c.Rank() == 1 {
		go c.Abort(errors.New("disk full"))
	}
	for {
		if err := c.Barrier(ctx); err != nil {
			return err
		}
	}
}

func values(ctx context.Context, c driver.Collective, dev driver.Device) error {
	return drivertest.Values(ctx, c, dev, drivertest.Lengths{Floats: []int{1, 7, 1000, 300000}, Bytes: []int{0, 5, 1 << 20}})
}

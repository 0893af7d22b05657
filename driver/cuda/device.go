//go:build cuda && cgo && linux

package cuda

import (
	"errors"
	"fmt"

	"gorgonia.org/cu"

	"dataflex.dev/dataflex/driver"
	shim "dataflex.dev/dataflex/third_party/cuda"
)

// The oldest versions on which this project runs. Its kernels are PTX 7.0 for sm_80 and PTX
// 8.0 for sm_90a, and tensor maps came with CUDA 12.
const (
	minVersion = 12000
	minMajor   = 8
)

// Device is one NVIDIA GPU. It implements driver.Launcher and Copier, Describer, Queuer,
// Sharer, Stager and Grapher.
type Device struct {
	driver.Attachment
	ordinal int
	dev     cu.Device
	ctx     cu.CUContext
	queue   cu.Stream
	props   Properties
	heap    *heap
	staging *staging

	last      string // the kernel launched last
	capturing bool
}

var (
	_ driver.Launcher = (*Device)(nil)
	_ driver.Copier   = (*Device)(nil)
	_ Describer       = (*Device)(nil)
	_ Queuer          = (*Device)(nil)
	_ Sharer          = (*Device)(nil)
	_ Stager          = (*Device)(nil)
	_ Grapher         = (*Device)(nil)
)

// Available is the number of GPUs, or the reason why none can be used: no driver, one that
// is too old, no GPU.
func Available() (int, error) {
	n, err := cu.NumDevices()
	if err != nil {
		return 0, noDriver(check("cuDeviceGetCount", code(err)))
	}
	if v := cu.Version(); v < minVersion {
		return 0, fmt.Errorf("cuda: the NVIDIA driver (%s) supports CUDA %s; CUDA %s or newer is needed (driver R525): update the driver",
			shim.Path(), versionText(v), versionText(minVersion))
	}
	if n == 0 {
		return 0, fmt.Errorf("cuda: the NVIDIA driver (%s) sees no GPU: %w", shim.Path(), NoDevice)
	}
	return n, nil
}

// noDriver explains why the driver cannot be started.
func noDriver(err error) error {
	switch {
	case shim.Path() == "":
		return fmt.Errorf("cuda: no NVIDIA driver on this machine: %s: %w", shim.Why(), err)
	case errors.Is(err, NoDevice):
		return fmt.Errorf("cuda: the NVIDIA driver (%s) sees no GPU: %w", shim.Path(), err)
	}
	return fmt.Errorf("cuda: the NVIDIA driver does not start: %s: %w", shim.Why(), err)
}

// Open prepares the GPU with that ordinal (in the order of CUDA_VISIBLE_DEVICES) for work.
// Close releases it.
func Open(ordinal int) (*Device, error) {
	n, err := Available()
	if err != nil {
		return nil, err
	}
	if ordinal < 0 || ordinal >= n {
		return nil, fmt.Errorf("cuda: no device %d: there are %d, numbered from 0", ordinal, n)
	}
	d := &Device{ordinal: ordinal}
	if err := d.open(); err != nil {
		return nil, fmt.Errorf("cuda: device %d: %w", ordinal, errors.Join(err, d.Close()))
	}
	return d, nil
}

func (d *Device) open() (err error) {
	if d.dev, err = cu.GetDevice(d.ordinal); err != nil {
		return check("cuDeviceGet", code(err))
	}
	if d.props, err = properties(d.dev); err != nil {
		return err
	}
	if d.props.Major < minMajor {
		return fmt.Errorf("%s has compute capability %d.%d; %d.0 (Ampere) or newer is needed", d.props.Name, d.props.Major, d.props.Minor, minMajor)
	}
	ctx, err := d.dev.RetainPrimaryCtx()
	if err != nil {
		return check("cuDevicePrimaryCtxRetain", code(err))
	}
	d.ctx = ctx
	if err := d.do("cuStreamCreate", func() int {
		s, err := cu.MakeStream(cu.NonBlocking)
		d.queue = s
		return code(err)
	}); err != nil {
		return err
	}
	d.heap = newHeap(segments{d})
	d.staging, err = newStaging(d)
	return err
}

// properties asks the driver for the device's properties.
func properties(dev cu.Device) (Properties, error) {
	p := Properties{DriverVersion: cu.Version()}
	var err error
	if p.Name, err = dev.Name(); err != nil {
		return p, check("cuDeviceGetName", code(err))
	}
	total, err := dev.TotalMem()
	if err != nil {
		return p, check("cuDeviceTotalMem", code(err))
	}
	p.MemoryBytes = uint64(total)
	const maxSharedPerBlockOptin cu.DeviceAttribute = 97 // not in gorgonia.org/cu
	ecc := 0
	for _, a := range []struct {
		attribute cu.DeviceAttribute
		value     *int
	}{
		{cu.ComputeCapabilityMajor, &p.Major},
		{cu.ComputeCapabilityMinor, &p.Minor},
		{cu.MultiprocessorCount, &p.Multiprocessors},
		{cu.ClockRate, &p.ClockKHz},
		{cu.MemoryClockRate, &p.MemoryClockKHz},
		{cu.GlobalMemoryBusWidth, &p.MemoryBusBits},
		{cu.L2CacheSize, &p.L2Bytes},
		{maxSharedPerBlockOptin, &p.SharedPerBlock},
		{cu.MaxSharedMemoryPerMultiprocessor, &p.SharedPerUnit},
		{cu.MaxRegistersPerMultiprocessor, &p.RegistersPerUnit},
		{cu.MaxThreadsPerMultiprocessor, &p.ThreadsPerUnit},
		{cu.EccEnabled, &ecc},
	} {
		if *a.value, err = dev.Attribute(a.attribute); err != nil {
			return p, fmt.Errorf("attribute %d: %w", a.attribute, check("cuDeviceGetAttribute", code(err)))
		}
	}
	p.ECC = ecc != 0
	const clusterLaunch cu.DeviceAttribute = 120 // an error of drivers before CUDA 11.8
	clusters, err := dev.Attribute(clusterLaunch)
	p.Clusters = err == nil && clusters != 0
	return p, nil
}

// Kind is driver.CUDA.
func (d *Device) Kind() driver.Kind { return driver.CUDA }

// Attributes describes the GPU.
func (d *Device) Attributes() driver.Attributes {
	p := d.props
	return driver.Attributes{
		Name: p.Name, Units: p.Multiprocessors, MemoryBytes: p.MemoryBytes, Capability: p.SM(), BF16: p.SM() >= 80, Clusters: p.Clusters,
	}
}

// Properties is the driver's description of the GPU.
func (d *Device) Properties() Properties { return d.props }

// Synchronize waits for all work of all streams and returns its first error.
func (d *Device) Synchronize() error {
	if err := d.refuseCapture("Synchronize"); err != nil {
		return err
	}
	return d.do("cuCtxSynchronize", func() int { return code(cu.Synchronize()) })
}

// Close waits for unfinished work and releases everything: memory, including what was not
// freed, the queue and the context. The device must not be used any more; closing it twice
// does nothing.
func (d *Device) Close() error {
	if d.ctx == (cu.CUContext{}) {
		return nil
	}
	errs := []error{d.do("cuCtxSynchronize", func() int { return code(cu.Synchronize()) })}
	if d.staging != nil {
		errs = append(errs, d.staging.close())
	}
	if d.heap != nil {
		errs = append(errs, d.heap.close())
	}
	if d.queue != (cu.Stream{}) {
		errs = append(errs, d.do("cuStreamDestroy", func() int { return code(d.queue.Destroy()) }))
	}
	errs = append(errs, check("cuDevicePrimaryCtxRelease", code(d.dev.ReleasePrimaryCtx())))
	d.ctx, d.heap, d.staging = cu.CUContext{}, nil, nil
	*d.Attached() = nil
	return errors.Join(errs...)
}

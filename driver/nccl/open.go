//go:build cgo && linux

package nccl

import (
	"context"
	"fmt"
	"strings"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/third_party/nccl"
)

// oldest is the first version with communicators that do not block.
const oldest = 21400

// find opens the library. Its error lists what was tried.
func find() (version int, err error) {
	var tried []string
	for _, p := range places() {
		if err := nccl.Open(p); err != nil {
			tried = append(tried, err.Error())
			continue
		}
		if version, err = nccl.Version(); err != nil {
			return 0, fmt.Errorf("nccl: %w", err)
		}
		if version < oldest {
			return 0, fmt.Errorf("nccl: NCCL %s is too old, 2.14 or newer is required: pip install nvidia-nccl-cu12, or name another in DATAFLEX_LIBNCCL", versionText(version))
		}
		return version, nil
	}
	return 0, fmt.Errorf("nccl: NCCL was not found: install it (pip install nvidia-nccl-cu12, or the system's libnccl2), activate the Python environment that has PyTorch, or name libnccl.so.2 in DATAFLEX_LIBNCCL. Tried: %s", strings.Join(tried, "; "))
}

func versionText(v int) string { return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100) }

// NewID makes the ID with which all ranks of a job join, 128 bytes. The process that makes
// it answers those that join, and must be one of them.
func NewID() ([]byte, error) {
	if _, err := find(); err != nil {
		return nil, err
	}
	id, err := nccl.NewID()
	if err != nil {
		return nil, fmt.Errorf("nccl: %w", err)
	}
	return id, nil
}

// sharer is implemented by *cuda.Device (see driver/cuda.Sharer).
type sharer interface {
	driver.Device
	Share(f func(queue unsafe.Pointer) error) error
	Busy() (bool, error)
}

// Open joins, as rank, the job of size ranks that all use the same id, with the memory and
// queue of dev, a *cuda.Device. ctx limits how long Open waits for the other ranks.
func Open(ctx context.Context, id []byte, rank, size int, dev driver.Device) (driver.Collective, error) {
	d, ok := dev.(sharer)
	if !ok {
		return nil, fmt.Errorf("nccl: NCCL connects GPUs, but rank %d's device is %v: driver/mpi connects processes on CPUs", rank, dev.Kind())
	}
	version, err := find()
	if err != nil {
		return nil, err
	}
	j := &Job{dev: d, rank: rank, size: size, version: version}
	err = d.Share(func(unsafe.Pointer) (err error) {
		if j.comm, err = nccl.Join(size, id, rank); err != nil {
			return err
		}
		return j.begun(ctx)
	})
	if err != nil {
		j.drop()
		return nil, fmt.Errorf("nccl: rank %d of %d joins the job: %w", rank, size, err)
	}
	return j, nil
}

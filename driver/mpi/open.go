//go:build cgo && linux

package mpi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/third_party/mpi"
)

// opened says that this process has joined its job: MPI can be started once.
var opened atomic.Bool

// Open joins the job that mpirun, mpiexec or srun started this process in. Memory that calls
// are given is dev's. The rank and size that MPI says must be want's: a library of another MPI
// than the launcher's starts as many jobs of one process instead. ctx limits how long the
// other processes are waited for.
func Open(ctx context.Context, want Want, dev driver.Device) (driver.Collective, error) {
	if opened.Swap(true) {
		return nil, errors.New("mpi: this process has joined its job already, which MPI allows once")
	}
	j := &Job{dev: dev, work: make(chan func()), left: make(chan struct{}), piece: 1 << 30} // MPI's counts have 32 bits
	joined := make(chan error, 1)
	go j.thread(func() error { return j.join(want) }, joined)
	select {
	case err := <-joined:
		if err != nil {
			return nil, err
		}
		return j, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("mpi: rank %d of %d: MPI_Init_thread: not all processes came: %w", want.Rank, want.Size, context.Cause(ctx))
	}
}

// thread is the one that calls MPI: it starts with join, whose error goes to joined, and then
// does what it is asked until Close.
func (j *Job) thread(join func() error, joined chan<- error) {
	runtime.LockOSThread() // for good: the thread ends with the goroutine
	defer close(j.left)
	err := join()
	joined <- err
	for err == nil && !j.finished {
		(<-j.work)()
	}
}

// on runs f on MPI's thread and returns its error.
func (j *Job) on(f func() error) error {
	done := make(chan error, 1)
	select {
	case j.work <- func() { done <- f() }:
		return <-done
	case <-j.left:
		return errLeft
	}
}

var errLeft = errors.New("the job was left")

func (j *Job) join(want Want) (err error) {
	if j.lib, err = find(); err != nil {
		return err
	}
	if j.rank, j.size, err = j.lib.Init(); err != nil {
		return fmt.Errorf("mpi: rank %d of %d: %s: %w", want.Rank, want.Size, j.lib.Name(), err)
	}
	if got := (Want{j.rank, j.size}); got != want {
		return fmt.Errorf("mpi: the launcher started this process as rank %d of %d, but %s says rank %d of %d: the launcher belongs to another MPI than the library; use that MPI's own mpirun, or build the plugin with the mpicc of this one (make mpi)",
			want.Rank, want.Size, j.lib.Name(), got.Rank, got.Size)
	}
	j.mine, j.heads = make([]byte, headBytes), make([]byte, headBytes*j.size)
	return nil
}

// places lists where an MPI may be.
func places() []string {
	if p := os.Getenv("DATAFLEX_MPI"); p != "" {
		return []string{p}
	}
	const plugin = "libdataflex-mpi.so"
	list := []string{plugin, "libmpi_abi.so.1", "libmpi_abi.so.0"}
	if exe, err := os.Executable(); err == nil {
		list = append([]string{filepath.Join(filepath.Dir(exe), plugin)}, list...)
	}
	return list
}

// find opens the first MPI of places. Its error says why each was none.
func find() (*mpi.Library, error) {
	var said []string
	for _, p := range places() {
		lib, err := mpi.Open(p)
		if err == nil {
			return lib, nil
		}
		said = append(said, err.Error())
	}
	return nil, fmt.Errorf("mpi: no MPI is found: make mpi builds the plugin libdataflex-mpi.so with this machine's mpicc; put it beside the program or name it in DATAFLEX_MPI. Tried: %s", strings.Join(said, "; "))
}

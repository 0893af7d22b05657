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

// opened is set when this process has joined its job: MPI can only be started once.
var opened atomic.Bool

// Open joins the job in which mpirun, mpiexec or srun started this process. Calls take
// memory of dev. The rank and size that MPI reports must be want's: with the library of
// another MPI than the launcher's, as many jobs of one process are started instead. ctx
// limits how long Open waits for the other processes.
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

// thread runs on the thread that calls MPI: it starts with join, whose error is sent to
// joined, and then runs what it is given until Close.
func (j *Job) thread(join func() error, joined chan<- error) {
	runtime.LockOSThread() // not unlocked: the thread ends with the goroutine
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
		return fmt.Errorf("mpi: the launcher started this process as rank %d of %d, but %s says rank %d of %d: launcher and library belong to different MPIs; use the mpirun of the library's MPI, or build the plugin with the mpicc of this one (make mpi)",
			want.Rank, want.Size, j.lib.Name(), got.Rank, got.Size)
	}
	j.mine, j.heads = make([]byte, headBytes), make([]byte, headBytes*j.size)
	return nil
}

// places lists where an MPI library may be.
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

// find opens the first MPI library of places. Its error has the reason for each that failed.
func find() (*mpi.Library, error) {
	var tried []string
	for _, p := range places() {
		lib, err := mpi.Open(p)
		if err == nil {
			return lib, nil
		}
		tried = append(tried, err.Error())
	}
	return nil, fmt.Errorf("mpi: no MPI library was found: make mpi builds the plugin libdataflex-mpi.so with this machine's mpicc; put it beside the program or name it in DATAFLEX_MPI. Tried: %s", strings.Join(tried, "; "))
}

//go:build cgo && linux

package mpi

/*
#cgo CFLAGS: -std=gnu11 -O2 -Wall -fvisibility=hidden
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "shim.h"

static const char *e_name(const struct dataflex_mpi *e) { return e->name(); }
static const char *e_error(const struct dataflex_mpi *e, int c) { return e->error(c); }
static int e_init(const struct dataflex_mpi *e, int32_t *r, int32_t *n) { return e->init(r, n); }
static int e_meet(const struct dataflex_mpi *e, const void *i, void *o, int32_t n) { return e->meet(i, o, n); }
static int e_alltoall(const struct dataflex_mpi *e, const void *i, void *o, int64_t n) { return e->alltoall(i, o, n); }
static int e_allgather(const struct dataflex_mpi *e, const void *i, void *o, int64_t n) { return e->allgather(i, o, n); }
static int e_reduce_scatter(const struct dataflex_mpi *e, const void *i, void *o, int64_t n) { return e->reduce_scatter(i, o, n); }
static int e_broadcast(const struct dataflex_mpi *e, void *b, int64_t n, int32_t r) { return e->broadcast(b, n, r); }
static int e_gather(const struct dataflex_mpi *e, const void *i, void *o, const int64_t *n) { return e->gather(i, o, n); }
static int e_tell(const struct dataflex_mpi *e, const void *t, int32_t n) { return e->tell(t, n); }
*/
import "C"

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"
	"unsafe"
)

// Library is an MPI in use. All calls come from the thread that called Init. One thing is
// under way at a time: what a call starts, Wait ends. Where its end is not waited for, only
// Tell may be called any more.
type Library struct {
	e       *C.struct_dataflex_mpi
	name    string
	size    int
	pins    runtime.Pinner // the memory of what is under way
	arrived []uint8
	text    []byte // that another rank has told
}

// opened stays for good: MPI may still write to the memory of a call that was given up, which
// is pinned, and whose pins must not be lost.
var opened *Library

// Open opens a plugin, or libmpi_abi where the file has that name. The error says why not.
func Open(path string) (*Library, error) {
	var why [512]C.char
	s := C.CString(path)
	defer C.free(unsafe.Pointer(s))
	C.dataflex_mpi_save_handlers()
	open := func() *C.struct_dataflex_mpi { return C.dataflex_mpi_plugin(s, &why[0], C.int(len(why))) }
	if strings.HasPrefix(filepath.Base(path), "libmpi_abi.") {
		open = func() *C.struct_dataflex_mpi { return C.dataflex_mpi_abi(s, &why[0], C.int(len(why))) }
	}
	e := open()
	if e == nil {
		C.dataflex_mpi_restore_handlers()
		return nil, fmt.Errorf("%s", C.GoString(&why[0]))
	}
	opened = &Library{e: e, name: C.GoString(C.e_name(e)), text: make([]byte, 512)}
	return opened, nil
}

// Name is the library and its version.
func (l *Library) Name() string { return l.name }

func (l *Library) check(call string, code C.int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s (%d)", call, C.GoString(C.e_error(l.e, code)), int(code))
}

// Init joins the job that this process was started in. It waits for the whole job.
func (l *Library) Init() (rank, size int, err error) {
	var r, n C.int32_t
	err = l.check("MPI_Init_thread", C.e_init(l.e, &r, &n))
	C.dataflex_mpi_restore_handlers()
	l.size, l.arrived = int(n), make([]uint8, int(n))
	return int(r), int(n), err
}

// at pins s, which is in use until Wait says that it is not.
func at[T byte | float32 | int64](l *Library, s []T) unsafe.Pointer {
	p := unsafe.Pointer(unsafe.SliceData(s))
	if len(s) > 0 {
		l.pins.Pin(p)
	}
	return p
}

// Meet starts sending mine to every rank and receiving theirs into all, one after another.
func (l *Library) Meet(mine, all []byte) error {
	clear(l.arrived)
	return l.check("MPI_Isend", C.e_meet(l.e, at(l, mine), at(l, all), C.int32_t(len(mine))))
}

// AllToAll starts the exchange of equal parts.
func (l *Library) AllToAll(in, out []float32) error {
	return l.check("MPI_Ialltoall", C.e_alltoall(l.e, at(l, in), at(l, out), C.int64_t(len(in)/l.size)))
}

// AllGather starts receiving the ranks' in into out.
func (l *Library) AllGather(in, out []float32) error {
	return l.check("MPI_Iallgather", C.e_allgather(l.e, at(l, in), at(l, out), C.int64_t(len(in))))
}

// ReduceScatter starts receiving this rank's part of the sum of the ranks' in.
func (l *Library) ReduceScatter(in, out []float32) error {
	return l.check("MPI_Ireduce_scatter_block", C.e_reduce_scatter(l.e, at(l, in), at(l, out), C.int64_t(len(out))))
}

// Broadcast starts receiving root's data into data, or sending it.
func (l *Library) Broadcast(data []byte, root int) error {
	return l.check("MPI_Ibcast", C.e_broadcast(l.e, at(l, data), C.int64_t(len(data)), C.int32_t(root)))
}

// Gather starts receiving the ranks' in into out, one after another; lengths are theirs.
func (l *Library) Gather(in, out []byte, lengths []int64) error {
	return l.check("MPI_Iallgatherv", C.e_gather(l.e, at(l, in), at(l, out), (*C.int64_t)(unsafe.SliceData(lengths))))
}

// Told is what another rank has told all.
type Told struct {
	From int
	Text string
}

// Wait lets what is under way go on for about a millisecond and says whether it has ended. It
// looks every pause, or lets other threads run in between where that is 0. It ends early when
// another rank has told something.
func (l *Library) Wait(pause time.Duration) (done bool, told *Told, err error) {
	var ended, from C.int32_t
	clear(l.text)
	code := C.dataflex_mpi_wait(l.e, C.int(pause.Microseconds()), &ended, (*C.uint8_t)(unsafe.SliceData(l.arrived)), &from, (*C.char)(unsafe.Pointer(unsafe.SliceData(l.text))), C.int(len(l.text)))
	if err := l.check("MPI_Test", code); err != nil {
		return false, nil, err
	}
	if from >= 0 {
		text, _, _ := strings.Cut(string(l.text), "\x00")
		return false, &Told{int(from), text}, nil
	}
	if ended != 0 {
		l.pins.Unpin()
	}
	return ended != 0, nil, nil
}

// Missing are the ranks, but for own, whose bytes have not come in the Meet under way.
func (l *Library) Missing(own int) (ranks []int) {
	for r, there := range l.arrived {
		if there == 0 && r != own {
			ranks = append(ranks, r)
		}
	}
	return ranks
}

// Tell sends text, cut at 511 bytes, to all ranks, which hear it in Wait.
func (l *Library) Tell(text string) error {
	b := append([]byte(text[:min(len(text), len(l.text)-1)]), 0)
	return l.check("MPI_Isend", C.e_tell(l.e, unsafe.Pointer(&b[0]), C.int32_t(len(b))))
}

// Finalize leaves the job. It waits for all ranks. The library is not used any more.
func (l *Library) Finalize() error {
	if code := C.dataflex_mpi_finalize(l.e); code != 0 {
		return l.check("MPI_Finalize", code)
	}
	return nil
}

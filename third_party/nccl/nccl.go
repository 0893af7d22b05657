//go:build cgo && linux

package nccl

// #cgo CFLAGS: -std=gnu11 -O2 -Wall -fvisibility=hidden
// #cgo LDFLAGS: -ldl
// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// IDBytes is the size of the ID that a communicator is made with.
const IDBytes = 128

// Open opens a library, unless one is open already.
func Open(path string) error {
	s := C.CString(path)
	defer C.free(unsafe.Pointer(s))
	if C.dataflex_nccl_open(s) != 0 {
		return errors.New(C.GoString(C.dataflex_nccl_why()))
	}
	return nil
}

// Version is the open library's, 23203 for 2.32.3.
func Version() (int, error) {
	var v C.int
	err := check("ncclGetVersion", C.dataflex_ncclGetVersion(&v), nil)
	return int(v), err
}

// NewID makes an ID and, in this process, the root that answers whoever joins with it.
func NewID() ([]byte, error) {
	id := make([]byte, IDBytes)
	if err := check("ncclGetUniqueId", C.dataflex_ncclGetUniqueId((*C.ncclUniqueId)(unsafe.Pointer(&id[0]))), nil); err != nil {
		return nil, err
	}
	return id, nil
}

// check is nil where a call was done or begun.
func check(call string, r C.ncclResult_t, comm C.ncclComm_t) error {
	if r == C.ncclSuccess || r == C.ncclInProgress {
		return nil
	}
	text := C.GoString(C.dataflex_nccl_text(r))
	if more := C.GoString(C.dataflex_nccl_complaint(comm)); more != "" {
		text += ": " + more
	}
	return fmt.Errorf("%s: %s (%d)", call, text, int(r))
}

// Comm is this process's place in a communicator. One goroutine at a time calls its methods,
// on a thread on which the device's context is current.
type Comm struct {
	c    C.ncclComm_t
	size int
}

// Join begins to make the communicator of size ranks that all join with id.
func Join(size int, id []byte, rank int) (*Comm, error) {
	if len(id) != IDBytes {
		return nil, fmt.Errorf("an ID of %d bytes, want %d", len(id), IDBytes)
	}
	k := &Comm{size: size}
	var c C.ncclComm_t
	r := C.dataflex_nccl_join(&c, C.int(size), (*C.char)(unsafe.Pointer(&id[0])), C.int(rank))
	k.c = c
	if err := check("ncclCommInitRankConfig", r, nil); err != nil {
		return nil, err
	}
	return k, nil
}

// Busy reports whether what was called last still begins. Its error is the call's, or one
// that the communicator met since: a lost peer.
func (k *Comm) Busy() (bool, error) {
	var state C.ncclResult_t
	if err := check("ncclCommGetAsyncError", C.dataflex_ncclCommGetAsyncError(k.c, &state), nil); err != nil {
		return false, err
	}
	return state == C.ncclInProgress, check("NCCL", state, k.c)
}

// The types of elements, NCCL's numbers.
const (
	Uint8   = C.ncclUint8
	Float32 = C.ncclFloat32
)

// AllToAll sends equal parts of float32s to and receives them from all ranks. Addresses are
// the device's, queue is its CUstream.
func (k *Comm) AllToAll(in, out uintptr, each int, queue unsafe.Pointer) error {
	return check("ncclSend and ncclRecv", C.dataflex_nccl_alltoall(C.uintptr_t(in), C.uintptr_t(out), C.size_t(each), C.int(k.size), k.c, queue), k.c)
}

// AllGather receives the ranks' n elements each, in the order of ranks.
func (k *Comm) AllGather(in, out uintptr, n int, kind int, queue unsafe.Pointer) error {
	return check("ncclAllGather", C.dataflex_nccl_allgather(C.uintptr_t(in), C.uintptr_t(out), C.size_t(n), C.int(kind), k.c, queue), k.c)
}

// ReduceScatter receives this rank's part, each float32s, of the sum of the ranks' in.
func (k *Comm) ReduceScatter(in, out uintptr, each int, queue unsafe.Pointer) error {
	return check("ncclReduceScatter", C.dataflex_nccl_reduce_scatter(C.uintptr_t(in), C.uintptr_t(out), C.size_t(each), k.c, queue), k.c)
}

// Broadcast overwrites data by root's.
func (k *Comm) Broadcast(data uintptr, bytes, root int, queue unsafe.Pointer) error {
	return check("ncclBroadcast", C.dataflex_nccl_broadcast(C.uintptr_t(data), C.size_t(bytes), C.int(root), k.c, queue), k.c)
}

// Abort ends the communicator at once, and what of it runs on the device.
func (k *Comm) Abort() error {
	c := k.c
	k.c = nil
	return check("ncclCommAbort", C.dataflex_ncclCommAbort(c), nil)
}

// Finalize begins to end the communicator together with the other ranks.
func (k *Comm) Finalize() error {
	return check("ncclCommFinalize", C.dataflex_ncclCommFinalize(k.c), k.c)
}

// Destroy gives everything back, once Finalize is no longer Busy.
func (k *Comm) Destroy() error {
	c := k.c
	k.c = nil
	return check("ncclCommDestroy", C.dataflex_ncclCommDestroy(c), nil)
}

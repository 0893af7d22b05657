// Package nccl connects GPUs through NVIDIA's NCCL, opened at run time.
//
// The library is the one named by DATAFLEX_LIBNCCL, or else libnccl.so.2 from the loader's
// path or from the active Python environment (VIRTUAL_ENV, CONDA_PREFIX), where PyTorch
// installs it. Version 2.14 or newer is required. NCCL itself reads its own variables
// (NCCL_DEBUG, NCCL_SOCKET_IFNAME, NCCL_COMM_ID …).
//
// One rank calls NewID and passes the ID to all ranks, which join with Open. Calls are put
// into the device's own queue after the kernels issued before, and return when the queue has
// completed them: only then is the death of a rank noticed by the call that waits for it,
// and can a context end the wait, by aborting the communicator and its work on the device.
//
// NCCL does not compare the calls of the ranks: different lengths hang until the context
// ends. The library used in tests (testdata/fakenccl) compares them.
package nccl

import (
	"os"
	"path/filepath"
)

// places lists where libnccl.so.2 may be.
func places() []string {
	if p := os.Getenv("DATAFLEX_LIBNCCL"); p != "" {
		return []string{p}
	}
	list := []string{"libnccl.so.2"}
	for _, env := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if dir := os.Getenv(env); dir != "" {
			found, _ := filepath.Glob(filepath.Join(dir, "lib/python3*/site-packages/nvidia/nccl/lib/libnccl.so.2"))
			list = append(list, found...)
		}
	}
	return list
}

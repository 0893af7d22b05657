// Package nccl connects GPUs through NVIDIA's NCCL, opened at run time.
//
// The library is what DATAFLEX_LIBNCCL names, or else libnccl.so.2 where the loader looks, or
// in the active Python environment (VIRTUAL_ENV, CONDA_PREFIX), where whoever has PyTorch has
// it. 2.14 or newer is wanted. NCCL's own variables (NCCL_DEBUG, NCCL_SOCKET_IFNAME,
// NCCL_COMM_ID …) are its own business.
//
// A rank calls NewID and hands the ID to all, which join with Open. Calls are put into the
// device's own queue behind the kernels before them, and return when the queue has passed
// them: only so a rank that has died is noticed by the call that waits for it, and a context
// ends the wait, by aborting the communicator and what of it runs on the device.
//
// NCCL does not compare what the ranks call: different lengths hang until the context ends.
// The tests' own library (testdata/fakenccl) does.
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

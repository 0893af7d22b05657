// Command simcuda builds a libcuda.so.1 whose GPU is our PTX interpreter: with it driver/cuda
// and the bundle for GPU machines can be tested end to end, including results, on a machine
// without a GPU.
//
//	go build -tags simcuda -buildmode=c-shared -o libcuda.so.1 ./tools/simcuda
//	DATAFLEX_LIBCUDA=$PWD/libcuda.so.1 GODEBUG=asyncpreemptoff=1 ./bin/dataflex-train -config x.yaml --device cuda
//
// Two Go runtimes then share a process, and both use signals for preemption, which is therefore
// switched off. SIMCUDA_CAPABILITY is the GPU's compute capability, 90 by default;
// SIMCUDA_DEVICES=0 simulates a machine without devices. Work is done as soon as it is queued,
// so that a missing wait is not noticed: driver/cuda/testdata/fakecuda tests that. A kernel's
// error is written to stderr and poisons the context.
package main

import (
	"fmt"
	"os"
)

// main is not called in a shared library.
func main() {
	fmt.Fprintln(os.Stderr, "simcuda is a shared library: go doc ./tools/simcuda says how it is built")
	os.Exit(2)
}

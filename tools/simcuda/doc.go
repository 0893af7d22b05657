// Command simcuda is a libcuda.so.1 whose GPU is our PTX interpreter: what driver/cuda
// and the bundle for GPU machines do is tried with it to the end, right numbers included,
// on a machine that has no GPU.
//
//	go build -tags simcuda -buildmode=c-shared -o libcuda.so.1 ./tools/simcuda
//	DATAFLEX_LIBCUDA=$PWD/libcuda.so.1 GODEBUG=asyncpreemptoff=1 ./bin/dataflex-train -config x.yaml --device cuda
//
// Two Go runtimes then share a process, which want signals of their own for preemption:
// it is switched off. SIMCUDA_CAPABILITY is what the GPU is said to be, 90 unless set; 0
// devices are there with SIMCUDA_DEVICES=0. Work is done when it is queued, so that a
// missing wait does not show: driver/cuda/testdata/fakecuda is for that. A kernel's fault
// is written to stderr and spoils the context.
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

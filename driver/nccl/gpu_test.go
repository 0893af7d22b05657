//go:build cuda && cgo && linux

package nccl

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cuda"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/reduce"
	"dataflex.dev/dataflex/kernels/treesum"
)

const (
	gpuLanes  = 4
	gpuFloats = 10007 // not a multiple of the number of processes
)

func init() {
	cases["kernels"] = work{func() (driver.Device, error) { return cuda.Open(0) }, kernels}
}

// gradient is the data of a lane: numbers of very different sizes, so that the order of a
// sum matters.
func gradient(lane int) []float32 {
	g := rand.New(rand.NewPCG(3, uint64(lane)))
	x := make([]float32, gpuFloats)
	for i := range x {
		x[i] = float32(g.NormFloat64() * math.Exp2(float64(g.IntN(24)-12)))
	}
	return x
}

// kernels puts a kernel, the fixed-order sum and another kernel into the device's queue
// without waiting in between, and compares with the same on the host: ((0+1)+(2+3))/2 of
// lanes that are doubled first.
func kernels(ctx context.Context, c driver.Collective, dev driver.Device) error {
	r, err := treesum.New(dev, c, gpuLanes, gpuFloats, treesum.Tree)
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := dev.Alloc(4 * gpuFloats)
	if err != nil {
		return err
	}
	defer dev.Free(m)
	x := driver.View[float32](m)
	for lo, hi := r.Lanes(); lo < hi; lo++ {
		if err := driver.Upload(dev, x, gradient(lo)); err != nil {
			return err
		}
		reduce.Scale(dev, 2, x)
		if lo < hi-1 {
			err = r.Add(x)
		} else {
			err = r.Sum(ctx, x)
		}
		if err != nil {
			return err
		}
	}
	reduce.Scale(dev, 0.25, x)
	got, err := driver.Read(dev, x)
	if err != nil {
		return err
	}
	var lanes [gpuLanes][]float32
	for lane := range lanes {
		lanes[lane] = gradient(lane)
	}
	for i, v := range got { // powers of two do not change other bits
		left, right := lanes[0][i]+lanes[1][i], lanes[2][i]+lanes[3][i]
		if want := (left + right) / 2; v != want {
			return fmt.Errorf("[%d] = %v, want %v", i, v, want)
		}
	}
	return nil
}

// TestKernels does what a step does on several GPUs. Its processes share the interpreter or
// a real GPU, which only the fake NCCL allows.
func TestKernels(t *testing.T) {
	if os.Getenv(optest.DeviceEnv) != "cuda" {
		t.Skip("kernels run where make test-simcuda, or a GPU, runs them: ", optest.DeviceEnv, " is not cuda")
	}
	for _, size := range []int{1, 2, 4} {
		out, errs := launch(t, "kernels", size)
		for r, err := range errs {
			if err != nil || !strings.Contains(out[r], "right") {
				t.Errorf("rank %d of %d: %v\n%s", r, size, err, out[r])
			}
		}
	}
}

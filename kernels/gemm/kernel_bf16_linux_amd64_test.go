package gemm

import (
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/simd"
)

// TestTilesSurviveSignals: while collections and signals rain on the process and goroutines
// change threads, products on AMX's tiles have the same bits every time.
func TestTilesSurviveSignals(t *testing.T) {
	if !slices.Contains(simd.Units(), "amx") {
		t.Skip("this machine has no AMX")
	}
	defer simd.ForceUnit(simd.Unit())
	simd.ForceUnit("amx")
	host, r := optest.CPU(t, 4), rand.New(rand.NewPCG(33, 34))
	x := aligned(r, NT, 130, 200, 1100)
	want := x.runBF16Host(host)
	a, b := x.factors()
	ha, hb := on(a, driver.FromHost(narrow(x.a))), on(b, driver.FromHost(narrow(x.b)))
	var over atomic.Bool
	ended := make(chan struct{})
	go func() { // more rain than anybody sees: collections stop the world, SIGURG asks goroutines to make way
		defer close(ended)
		for !over.Load() {
			syscall.Kill(syscall.Getpid(), syscall.SIGURG)
			runtime.GC()
			runtime.Gosched()
		}
	}()
	c := make([]float32, len(x.c))
	for round := range 1500 {
		copy(c, x.c)
		RunBF16(host, x.tr, x.alpha, ha, hb, x.beta, x.product(driver.FromHost(c)))
		if i, ok := sameBits(want, c); !ok {
			t.Fatalf("round %d: element %d is %v, was %v", round, i, c[i], want[i])
		}
	}
	over.Store(true)
	<-ended
}

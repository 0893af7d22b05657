//go:build unix

package sim

import (
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver"
)

// report reports the interpreter's speed in lane operations and, for matrix products, flops
// per second, of the fastest run: on a shared machine the mean means little. Time is
// processor time, so the speed is that of one core.
func report(b *testing.B, c *Counters, best time.Duration) {
	s := best.Seconds()
	b.ReportMetric(float64(c.Lanes)/s/1e9, "Glane-ops/s")
	b.ReportMetric(float64(c.Flops)/s/1e9, "GFLOP/s")
	b.ReportMetric(0, "ns/op")
}

// processorTime is the processor time that this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var speeds = []struct {
	name string
	opt  Options
}{
	{"bounds", Options{Workers: 1, Unchecked: true, Uncounted: true}},
	{"checks", Options{Workers: 1, Uncounted: true}},
	{"checks+counters", Options{Workers: 1}},
}

func benchmarkKernel(b *testing.B, text, kernel string, prepare func(x *bench) (driver.Config, *driver.Args)) {
	for _, s := range speeds {
		b.Run(s.name, func(b *testing.B) {
			x := newBench(b, s.opt, text)
			cfg, args := prepare(x)
			f, err := x.mod.Function(kernel)
			if err != nil {
				b.Fatal(err)
			}
			best := time.Duration(math.MaxInt64)
			for b.Loop() {
				start := processorTime(b)
				if err := x.dev.Launch(f, cfg, args); err != nil {
					b.Fatal(err)
				}
				best = min(best, processorTime(b)-start)
			}
			report(b, x.dev.Last(), best)
		})
	}
}

func BenchmarkRmsnorm(b *testing.B) {
	benchmarkKernel(b, readFile(b, prototypes+"rmsnorm.c19.ptx"), "rmsnorm_bf16", func(x *bench) (driver.Config, *driver.Args) {
		const rows, n = 128, 4096
		r := rand.New(rand.NewPCG(1, 2))
		var a driver.Args
		a.Addr(x.putBF16("x", normalBF16(r, rows*n)).Addr()).Addr(x.putBF16("w", normalBF16(r, n)).Addr())
		a.Addr(x.alloc("y", 2*rows*n).Addr()).Addr(x.alloc("rstd", 4*rows).Addr()).I32(n).F32(1e-5)
		return grid(rows, 1, 256), &a
	})
}

func BenchmarkXent(b *testing.B) {
	benchmarkKernel(b, readFile(b, prototypes+"xent.c19.ptx"), "xent_fwd_bwd", func(x *bench) (driver.Config, *driver.Args) {
		const rows, v = 16, 32768
		r := rand.New(rand.NewPCG(1, 2))
		var a driver.Args
		a.Addr(x.putBF16("logits", normalBF16(r, rows*v)).Addr()).Addr(x.putU32("target", make([]uint32, rows)...).Addr())
		a.Addr(x.alloc("loss", 4*rows).Addr()).I32(v).I32(v).F32(1)
		return grid(rows, 1, 256), &a
	})
}

func BenchmarkPhilox(b *testing.B) {
	benchmarkKernel(b, readFile(b, prototypes+"philox2.c19.ptx"), "rademacher_axpy", func(x *bench) (driver.Config, *driver.Args) {
		const n = 1 << 20
		var a driver.Args
		a.Addr(x.putF32("w", make([]float32, n)).Addr()).U64(n).U64(7).U64(0).F32(1)
		return grid(n/1024, 1, 256), &a
	})
}

func BenchmarkGemm(b *testing.B) {
	benchmarkKernel(b, readFile(b, prototypes+"gemm.c19.ptx"), "gemm_bf16_tn", func(x *bench) (driver.Config, *driver.Args) {
		a, _, _, _ := gemmArgs(x, 256, 256, 256)
		return grid(2, 2, 256), &a
	})
}

func BenchmarkWgmma(b *testing.B) {
	benchmarkKernel(b, prototypeWgmma(b), "gemm_wgmma", func(x *bench) (driver.Config, *driver.Args) {
		const m, n, k = 256, 256, 256
		r := rand.New(rand.NewPCG(3, 4))
		args := wgmmaArgs(x, normalBF16(r, m*k), normalBF16(r, n*k), x.alloc("C", 4*m*n), m, n, k)
		cfg := grid(n/64, m/64, 160)
		cfg.Shared = 4*2*8192 + 64
		return cfg, args
	})
}

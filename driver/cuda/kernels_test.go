//go:build cuda && cgo && linux

package cuda

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
)

// product is a launch of a Hopper kernel of kernels/gemm: four tensor maps, the shape, a
// ring of 192 KiB of shared memory.
type product struct {
	d             *Device
	m, n, k, r    int
	a, b, u, l, c driver.Memory
}

func newProduct(tb testing.TB, m, n, k, r int) *product {
	d := open(tb)
	alloc := func(n int) driver.Memory { return must(d.Alloc(n))(tb) }
	return &product{d, m, n, k, r, alloc(2 * m * k), alloc(2 * n * k), alloc(2 * m * r), alloc(2 * n * r), alloc(4 * m * n)}
}

func (p *product) run() {
	half := driver.View[driver.BF16]
	gemm.RunLoRABF16(p.d, gemm.NT, gemm.Dense(half(p.a), p.m, p.k), gemm.Dense(half(p.b), p.n, p.k), gemm.Dense(half(p.u), p.m, p.r), gemm.Dense(half(p.l), p.n, p.r), 0, gemm.Dense(driver.View[float32](p.c), p.m, p.n))
}

func TestHopperKernelIsLaunched(t *testing.T) {
	p := newProduct(t, 1408, 3072, 72, 8)
	lines := calls(t, p.run)
	mapOf := func(m driver.Memory, columns, rows, boxRows int) string {
		return fmt.Sprintf("tensor map type 9 rank 2 addr 0x%x [%d %d 64 1] [%d 0 %d 1] interleave 0 swizzle 3", m.Addr(), columns, 2*columns, rows, boxRows)
	}
	maps := only(lines, "tensor map")
	for i, want := range []string{mapOf(p.a, 72, 1408, 128), mapOf(p.b, 72, 3072, 256), mapOf(p.u, 8, 1408, 128), mapOf(p.l, 8, 3072, 256)} {
		if len(maps) != 4 || !strings.HasPrefix(maps[i], want) {
			t.Fatalf("map %d: %q, want %q", i, maps, want)
		}
	}
	if got := only(lines, "attribute"); len(got) != 1 || got[0] != "attribute 8 of gemm_bf16_nt_256 = 196672" {
		t.Errorf("%q", got)
	}
	encoded := make([]byte, 128) // the fake driver's encoding
	for i := range encoded {
		encoded[i] = byte(i)
	}
	// c, m = 0x580, n = 0xc00, k = 0x48, r = 8, ldc, alpha = 1, beta = 0 and the padding
	shape := hex.EncodeToString(binaryUint64(uint64(p.c.Addr()))) + "80050000" + "000c0000" + "48000000" + "08000000" + "000c0000" + "0000803f" + "00000000" + "00000000"
	want := fmt.Sprintf("launch gemm_bf16_nt_256 grid 132,1,1 block 384,1,1 shared 196672 stream 1 args [%s%s]", strings.Repeat(hex.EncodeToString(encoded)+" ", 4), shape)
	if got := only(lines, "launch"); len(got) != 1 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	if again := calls(t, p.run); len(again) != 1 || again[0] != want { // neither maps are encoded nor attributes set again
		t.Errorf("the second launch: %q", again)
	}
}

// TestLaunchesAllocateNothing: a kernel that was launched before with the same tensors.
func TestLaunchesAllocateNothing(t *testing.T) {
	p := newProduct(t, 1408, 3072, 72, 8)
	if n := testing.AllocsPerRun(200, p.run); n != 0 {
		t.Errorf("%v allocations a launch", n)
	}
}

// BenchmarkHopperLaunch is the host's entire cost of a product except the driver's own work,
// in place of which the fake copies the arguments into a list.
func BenchmarkHopperLaunch(b *testing.B) {
	p := newProduct(b, 1408, 3072, 72, 8)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		p.run()
		if n%4096 == 0 {
			if err := p.d.Synchronize(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

package sim

import (
	"math/rand/v2"
	"strings"
	"testing"

	"dataflex/driver"
)

func mapOf(b *bench, t driver.TensorMap) *driver.EncodedTensorMap {
	b.t.Helper()
	e, err := b.dev.EncodeTensorMap(t)
	if err != nil {
		b.t.Fatal(err)
	}
	return &e
}

// tileProduct prepares the kernel of testdata/hopper.cu.
func tileProduct(b *bench, k int) (driver.Config, *driver.Args, driver.Memory, []float32, []float32) {
	r := rand.New(rand.NewPCG(1, 2))
	x, y := normalBF16(r, 64*k), normalBF16(r, 64*k)
	c := b.alloc("C", 4*64*64)
	operand := func(name string, v []float32) *driver.EncodedTensorMap {
		return mapOf(b, driver.TensorMap{
			Type: driver.TensorBF16, Addr: b.putBF16(name, v).Addr(), Dims: []uint64{uint64(k), 64},
			Strides: []uint64{uint64(2 * k)}, Box: []uint32{64, 64}, Swizzle: 128,
		})
	}
	a := new(driver.Args).TensorMap(operand("A", x)).TensorMap(operand("B", y))
	a.TensorMap(mapOf(b, driver.TensorMap{Type: driver.TensorF32, Addr: c.Addr(), Dims: []uint64{64, 64}, Strides: []uint64{256}, Box: []uint32{64, 64}}))
	a.I32(int32(k))
	cfg := grid(1, 1, 160)
	cfg.Shared = 4*8192 + 16384 + 32
	return cfg, a, c, x, y
}

func TestHopperPipeline(t *testing.T) {
	text := readFile(t, "testdata/hopper.ptx")
	for seed := range uint64(5) {
		for _, k := range []int{64, 128, 448} {
			b := newBench(t, Options{Seed: seed}, text)
			cfg, a, c, x, y := tileProduct(b, k)
			n := b.run("tile_product", cfg, a)
			if w := worstGemm(b.getF32(c), x, y, 64, 64, k); w > 1e-5 {
				t.Errorf("seed %d k=%d: error %g", seed, k, w)
			}
			if n.Flops != uint64(2*64*64*k) || n.Global.BulkLoads != uint64(4*64*k) || n.Global.BulkStores != 4*64*64 || n.Global.BulkSectors != n.GlobalBytes()/32 {
				t.Errorf("k=%d: %d flops, %d B in, %d B out, %d sectors", k, n.Flops, n.Global.BulkLoads, n.Global.BulkStores, n.Global.BulkSectors)
			}
		}
	}
}

func TestPlantedHopperBugsAreFound(t *testing.T) {
	text := readFile(t, "testdata/hopper.ptx")
	const k = 448
	for _, c := range []struct {
		name, kind string
		edit       func(s string) string
	}{
		{"the consumer does not loop on its wait", AsyncHazard + Uninitialised, func(s string) string { return lastReplaced(s, "@!p bra AGAIN;", "") }},
		{"the consumer does not wait", AsyncHazard + Uninitialised, func(s string) string {
			return lastReplaced(lastReplaced(s, "@!p bra AGAIN;", ""), "mbarrier.try_wait.parity", "//")
		}},
		{"the producer does not wait", AsyncHazard + Race + BadMbarrier, func(s string) string { return strings.Replace(s, "@!p bra AGAIN;", "", 1) }},
		{"a stage is never given back", Deadlock, func(s string) string { return lastReplaced(s, "mbarrier.arrive.shared::cta.b64", "//") }},
		{"more bytes expected than come", Deadlock, func(s string) string { return strings.ReplaceAll(s, "0, 16384;", "0, 16400;") }},
		{"no wait for the products", BadWgmma + AsyncHazard, func(s string) string { return strings.Replace(s, "wgmma.wait_group.sync.aligned 0;", "", 1) }},
		{"no wgmma.fence", BadWgmma, func(s string) string { return strings.Replace(s, "wgmma.fence.sync.aligned;", "", 1) }},
		{"no proxy fence before the store", ProxyHazard, func(s string) string { return strings.Replace(s, "fence.proxy.async.shared::cta;", "", 1) }},
		{"no barrier before the store", Race + Uninitialised, func(s string) string { return strings.Replace(s, "bar.sync 1, 128;", "", 1) }},
		{"no wait for the store", AsyncHazard, func(s string) string { return strings.Replace(s, "cp.async.bulk.wait_group.read 0;", "", 1) }},
		{"no barrier behind the initialisation", BadMbarrier + Race, func(s string) string { return strings.Replace(s, "bar.sync \t0;", "", 1) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			edited := c.edit(text)
			if edited == text {
				t.Fatal("nothing was edited")
			}
			for seed := range uint64(4) {
				b := newBench(t, Options{Seed: seed}, edited)
				cfg, a, _, _, _ := tileProduct(b, k)
				f := b.fails(c.kind, "tile_product", cfg, a)
				if !strings.Contains(f.Source, "hopper.cu:") {
					t.Errorf("no source line in %v", f)
				}
				if seed == 0 {
					t.Log(f)
				}
			}
		})
	}
}

// lastReplaced replaces the last occurrence of a string.
func lastReplaced(s, from, to string) string {
	i := strings.LastIndex(s, from)
	if i < 0 {
		return s
	}
	return s[:i] + to + s[i+len(from):]
}

package xent_test

import (
	"testing"

	"dataflex/driver/sim"
	"dataflex/kernels/optest"
	"dataflex/kernels/xent"
)

// frugal checks what a kernel moved since the last ResetCounters: at most a tenth more
// than `least` bytes, in full sectors (lanes that read the same count once), without bank conflicts.
func frugal(t *testing.T, dev *sim.Device, kernel string, least uint64) {
	t.Helper()
	c := dev.Total(kernel)
	if c == nil {
		t.Fatalf("%s did not run", kernel)
	}
	g := &c.Global
	if n := 32*g.Units + g.BulkLoads + g.BulkStores; 10*n > 11*least || n < least {
		t.Errorf("%s: %d bytes moved, the least is %d", kernel, n, least)
	}
	if g.Units > g.Ideal || c.Conflicts() != 0 {
		t.Errorf("%s: %d sectors, ideal %d; %d bank conflicts", kernel, c.Global.Units, c.Global.Ideal, c.Conflicts())
	}
}

// labelledBF16 is a problem all of whose rows have targets.
func labelledBF16(seed uint64, p xent.Params) problem {
	x := newBF16(seed, p, 0.1)
	for i := range x.targets {
		x.targets[i] = int32(i*37) % int32(p.Vocab)
	}
	return x
}

func TestBF16HopperTraffic(t *testing.T) {
	dev := optest.Hopper(t)
	const m, v, k = 256, 512, 256
	for _, p := range []xent.Params{{Rows: m, Hidden: k, Vocab: v}, {Rows: m, Hidden: k, Vocab: v, SoftCap: 20}} {
		dev.ResetCounters()
		runBF16(t, dev, labelledBF16(30, p))
		kernel := "xent_bf16_logits_256"
		if p.SoftCap > 0 {
			kernel += "_capped"
		}
		frugal(t, dev, kernel, (m/128)*(v/256)*2*(128+256)*k+2*m*v+4*3*m*(v/256))
	}
}

func TestBF16Traffic(t *testing.T) {
	dev := optest.Sim(t)
	const m, v, k = 256, 512, 256
	for _, p := range []xent.Params{{Rows: m, Hidden: k, Vocab: v, Smoothing: 0.1}, {Rows: m, Hidden: k, Vocab: v, SoftCap: 20}} {
		dev.ResetCounters()
		runBF16(t, dev, labelledBF16(30, p))
		suffix := ""
		if p.SoftCap > 0 {
			suffix = "_capped"
		}
		const tiles = (m / 128) * (v / 128)
		frugal(t, dev, "xent_bf16_logits"+suffix, tiles*2*(128+128)*k+2*m*v+4*3*m*(v/128))
		frugal(t, dev, "xent_bf16_losses", 4*3*m*(v/128)+m*(4+4+4+4+16))
		frugal(t, dev, "xent_bf16_gradient"+suffix, 2*2*m*v)
		frugal(t, dev, "xent_bf16_gather", 2*2*m*k)
	}
}

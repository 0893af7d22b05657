package xent_test

import (
	"testing"

	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/xent"
)

// labelledBF16 is a problem in which all rows have targets.
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
		optest.Frugal(t, dev, kernel, (m/128)*(v/256)*2*(128+256)*k+2*m*v+4*2*m*(v/256))
	}
}

func TestBF16Traffic(t *testing.T) {
	dev := optest.Sim(t)
	const m, v, k = 256, 512, 256
	for _, p := range []xent.Params{{Rows: m, Hidden: k, Vocab: v, Smoothing: 0.1}, {Rows: m, Hidden: k, Vocab: v, SoftCap: 20}} {
		dev.ResetCounters()
		runBF16(t, dev, labelledBF16(30, p))
		suffix, sums := "", uint64(3)
		if p.SoftCap > 0 {
			suffix, sums = "_capped", 2
		}
		const tiles = (m / 128) * (v / 128)
		optest.Frugal(t, dev, "xent_bf16_logits"+suffix, tiles*2*(128+128)*k+2*m*v+4*sums*m*(v/128))
		optest.Frugal(t, dev, "xent_bf16_losses", 4*sums*m*(v/128)+m*(4+4+4+4+16))
		optest.Frugal(t, dev, "xent_bf16_gradient"+suffix, 2*2*m*v)
		optest.Frugal(t, dev, "xent_bf16_gather", 2*2*m*k)
	}
}

package gradproj

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestUnderAdversarialSchedules: bits do not depend on the order of warps and blocks, and
// no two threads meet in memory.
func TestUnderAdversarialSchedules(t *testing.T) {
	optest.Sim(t) // skips where a GPU is wanted
	pairs := []pair{newPair(rand.New(rand.NewPCG(33, 34)), 48, 36, 5, 60, 20, 3)}
	for _, c := range []struct {
		kind Kind
		dim  int
		opt  Options
	}{
		{Rademacher, 40, Options{}},
		{Rademacher, 40, Options{BF16: true}},
		{SJLT, 60, Options{}},
		{Gaussian, 40, Options{}},
		{None, 0, Options{}},
		{TRAK, 40, Options{Source: constantSource{}, Float16: true}},
	} {
		var want []float32
		for seed := range uint64(3) {
			dev := sim.New(sim.Options{Unwritten: true, Seed: seed, GlobalRaces: seed == 2})
			got, _ := runPTX(t, dev, mustNew(t, c.kind, c.dim, total(pairs), c.opt), pairs, true, 0, 2)
			dev.Close()
			if seed == 0 {
				want = got
			}
			optest.Same(t, fmt.Sprint(c.kind, c.opt.BF16, " seed ", seed), got, want)
		}
	}
}

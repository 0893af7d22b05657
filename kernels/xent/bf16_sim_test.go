package xent_test

import (
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/xent"
)

// adversary is an interpreter that runs warps in random order and looks for races
// between blocks.
func adversary(t *testing.T, seed uint64, capability int) *sim.Device {
	dev := sim.New(sim.Options{Unwritten: true, GlobalRaces: true, Seed: seed, Capability: capability})
	t.Cleanup(func() { dev.Close() })
	return dev
}

// TestBF16AnyOrder: for any order of the warps there is no fault, and the bits are the same.
func TestBF16AnyOrder(t *testing.T) {
	for _, capability := range []int{80, 90} {
		x := newBF16(32, xent.Params{Rows: 140, Hidden: 72, Vocab: 300, SoftCap: 8}, 0.5)
		var want result
		for seed := range uint64(2) {
			got := runBF16(t, adversary(t, seed, capability), x)
			if seed == 0 {
				want = got
			}
			same(t, got, want)
		}
	}
}

func same(t *testing.T, got, want result) {
	t.Helper()
	for i, g := range [][]float32{got.loss, got.dh, got.dw} {
		w := [][]float32{want.loss, want.dh, want.dw}[i]
		for j := range w {
			if g[j] != w[j] {
				t.Fatalf("tensor %d, element %d: %v, want %v", i, j, g[j], w[j])
			}
		}
	}
}

func plant(t *testing.T, kernel, part string, n int, change func(string) string) func(string) string {
	return func(text string) string { return optest.Plant(t, text, kernel, part, n, change) }
}

// TestBF16PlantedBugs: missing or wrong synchronisation is found.
func TestBF16PlantedBugs(t *testing.T) {
	const kernel80, kernel90 = "xent_bf16_logits", "xent_bf16_logits_256"
	for _, c := range []struct {
		name       string
		capability int
		kinds      string
		edit       func(string) string
	}{
		{"a wait for too few copies", 80, sim.AsyncHazard, plant(t, kernel80, "cp.async.wait_group", 0, optest.Swap(" 1", " 2"))},
		{"no barrier before a slice is read", 80, sim.Race + sim.AsyncHazard + sim.Uninitialised, plant(t, kernel80, "bar.sync", 0, optest.Drop)},
		{"no barrier before the stages are used again", 80, sim.Race, plant(t, kernel80, "bar.sync", 1, optest.Drop)},
		{"no barrier before the largest is read", 80, sim.Race + sim.Uninitialised, plant(t, kernel80, "bar.sync", 2, optest.Drop)},
		{"no barrier before the tile is stored", 80, sim.Race + sim.Uninitialised, plant(t, kernel80, "bar.sync", 3, optest.Drop)},
		{"a slice's bytes miscounted", 90, sim.Deadlock + sim.BadMbarrier, plant(t, kernel90, "expect_tx", 0, optest.Last("49136"))},
		{"no wait for the products", 90, sim.AsyncHazard + sim.BadWgmma, plant(t, kernel90, "wgmma.wait_group", 1, optest.Drop)},
		{"stages never given back", 90, sim.Deadlock, plant(t, kernel90, "mbarrier.arrive.shared", 0, optest.Drop)},
		{"the barriers' initialisation not shown to all", 90, sim.Race + sim.BadMbarrier + sim.Uninitialised, plant(t, kernel90, "bar.sync", 0, optest.Drop)},
	} {
		t.Run(c.name, func(t *testing.T) {
			xent.Mutate(t, c.capability, c.edit)
			x := newBF16(33, xent.Params{Rows: 20, Hidden: 456, Vocab: 130}, 0.5)
			kind, err := optest.Fault(func() { runBF16(t, adversary(t, 0, c.capability), x) })
			if kind == "" || !strings.Contains(c.kinds, kind) {
				t.Errorf("%v, want %s", err, c.kinds)
			}
		})
	}
}

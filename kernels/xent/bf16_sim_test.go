package xent_test

import (
	"errors"
	"strings"
	"testing"

	"dataflex/driver/sim"
	"dataflex/kernels/ptx"
	"dataflex/kernels/xent"
)

// adversary is an interpreter that runs warps in random order and looks for races
// between blocks.
func adversary(t *testing.T, seed uint64, capability int) *sim.Device {
	dev := sim.New(sim.Options{Unwritten: true, GlobalRaces: true, Seed: seed, Capability: capability})
	t.Cleanup(func() {
		ptx.Forget(dev)
		dev.Close()
	})
	return dev
}

// TestBF16AnyOrder: whatever the order of the warps, no fault and the same bits.
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

// nth edits the nth line (from 0) of a kernel that contains part.
func nth(t *testing.T, kernel, part string, n int, edit func(string) string) func(string) string {
	return func(text string) string {
		lines, in := strings.Split(text, "\n"), false
		for i, l := range lines {
			if strings.Contains(l, ".entry") {
				in = strings.Contains(l, kernel+"(")
			}
			if in && strings.Contains(l, part) {
				if n == 0 {
					lines[i] = edit(l)
					return strings.Join(lines, "\n")
				}
				n--
			}
		}
		t.Fatalf("%s has too few lines with %q", kernel, part)
		return ""
	}
}

func drop(string) string { return "" }

func swap(from, to string) func(string) string {
	return func(l string) string { return strings.Replace(l, from, to, 1) }
}

// TestBF16PlantedBugs: what is left out or wrong in the synchronisation is found.
func TestBF16PlantedBugs(t *testing.T) {
	const kernel80, kernel90 = "xent_bf16_logits", "xent_bf16_logits_256"
	for _, c := range []struct {
		name       string
		capability int
		kinds      string
		edit       func(string) string
	}{
		{"a wait for too few copies", 80, sim.AsyncHazard, nth(t, kernel80, "cp.async.wait_group", 0, swap(" 1", " 2"))},
		{"no barrier before a slice is read", 80, sim.Race + sim.AsyncHazard + sim.Uninitialised, nth(t, kernel80, "bar.sync", 0, drop)},
		{"no barrier before the stages are used again", 80, sim.Race, nth(t, kernel80, "bar.sync", 1, drop)},
		{"no barrier before the largest is read", 80, sim.Race + sim.Uninitialised, nth(t, kernel80, "bar.sync", 2, drop)},
		{"no barrier before the tile is stored", 80, sim.Race + sim.Uninitialised, nth(t, kernel80, "bar.sync", 3, drop)},
		{"a slice's bytes miscounted", 90, sim.Deadlock + sim.BadMbarrier, nth(t, kernel90, "expect_tx", 0, func(l string) string { return l[:strings.LastIndex(l, ",")] + ", 49136;" })},
		{"no wait for the products", 90, sim.AsyncHazard + sim.BadWgmma, nth(t, kernel90, "wgmma.wait_group", 1, drop)},
		{"stages never given back", 90, sim.Deadlock, nth(t, kernel90, "mbarrier.arrive.shared", 0, drop)},
		{"the barriers' initialisation not shown to all", 90, sim.Race + sim.BadMbarrier + sim.Uninitialised, nth(t, kernel90, "bar.sync", 0, drop)},
	} {
		t.Run(c.name, func(t *testing.T) {
			xent.Mutate(t, c.capability, c.edit)
			x := newBF16(33, xent.Params{Rows: 20, Hidden: 456, Vocab: 130}, 0.5)
			defer func() {
				err, _ := recover().(error)
				var f *sim.Fault
				if !errors.As(err, &f) || !strings.Contains(c.kinds, f.Kind) {
					t.Errorf("%v, want %s", err, c.kinds)
				}
			}()
			runBF16(t, adversary(t, 0, c.capability), x)
		})
	}
}

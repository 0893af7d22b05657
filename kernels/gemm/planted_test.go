package gemm

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// adversary is an interpreter that runs warps in random order and preempts them anywhere.
func adversary(t *testing.T, seed uint64) *sim.Device {
	dev := sim.New(sim.Options{Unwritten: true, GlobalRaces: true, Seed: seed, Capability: 90, Workers: 1})
	t.Cleanup(func() { dev.Close() })
	return dev
}

// deep is a product of two tiles for one block, in whose ring of six stages seven slices
// come twice, the last of them short.
func deep(tr Transpose) matrices {
	x := aligned(rand.New(rand.NewPCG(1, 19)), tr, 140, 72, 420)
	x.alpha, x.beta = 1, 0
	return x
}

// TestHopperAnyOrder: whatever the order of the warps, no fault and the same bits.
func TestHopperAnyOrder(t *testing.T) {
	for _, tr := range []Transpose{NN, NT, TN} {
		x := deep(tr)
		want := x.runBF16(t, adversary(t, 1))
		x.verify(t, want)
		for seed := range uint64(2) {
			if i, same := sameBits(x.runBF16(t, adversary(t, seed+2)), want); !same {
				t.Fatalf("%v: element %d depends on the order", tr, i)
			}
		}
	}
}

// descriptor sets the fields of a descriptor other than the address.
func descriptor(lbo, sbo, swizzle uint64) func(string) string {
	mode := map[uint64]uint64{128: 1, 64: 2}[swizzle]
	return optest.Last(fmt.Sprintf("%#x", lbo>>4<<16|sbo>>4<<32|mode<<62))
}

// TestHopperPlantedBugs: what is left out or wrong in the kernels' synchronisation and
// descriptors is found, as a fault of that kind or, where a GPU would only compute
// something else, as a wrong result. Lines are numbered as clang lays them out: the
// consumers before the producer, a tile's slices before its end.
func TestHopperPlantedBugs(t *testing.T) {
	const wrong = "wrong result"
	for _, c := range []struct {
		name, kinds string
		tr          Transpose
		part        string
		n           int
		change      func(string) string
	}{
		{"a slice is not waited for", sim.AsyncHazard + sim.Uninitialised + sim.Race, NT, "@!p bra AGAIN", 0, optest.Drop},
		{"the producer does not wait for a free stage", sim.AsyncHazard + sim.Race + sim.BadMbarrier, NT, "@!p bra AGAIN", 1, optest.Drop},
		{"the consumers' parity never turns", sim.AsyncHazard + sim.Race + sim.Uninitialised + sim.Deadlock + sim.BadMbarrier, NN, "try_wait.parity", 0, optest.Last("0")},
		{"the producer's parity never turns", sim.AsyncHazard + sim.Race + sim.BadMbarrier + sim.Deadlock, NN, "try_wait.parity", 1, optest.Last("1")},
		{"the producer waits for the other parity", sim.Deadlock, NN, "try_wait.parity", 1, optest.Last("0")},
		{"fewer bytes expected than come", sim.Race + sim.Deadlock + sim.BadMbarrier + sim.AsyncHazard, NT, "expect_tx", 0, optest.Last("16384")},
		{"no bytes expected", sim.Deadlock + sim.BadMbarrier + sim.AsyncHazard + sim.Uninitialised, TN, "expect_tx", 0, optest.Swap(".expect_tx", "")},
		{"stages are never released", sim.Deadlock, NT, "mbarrier.arrive.shared", 0, optest.Drop},
		{"a tile's last stage is not released", sim.Deadlock, NT, "mbarrier.arrive.shared", 1, optest.Drop},
		{"a stage is released by one warp for all", sim.Deadlock + sim.BadMbarrier + sim.AsyncHazard, NT, "mbarrier.init", 1, optest.Last("1")},
		{"a stage is released before it was multiplied", sim.AsyncHazard + sim.Race, TN, "wgmma.wait_group", 0, optest.Swap(" 1;", " 7;")},
		{"C is stored before the sums are there", sim.BadWgmma + sim.AsyncHazard + wrong, NT, "wgmma.wait_group", 1, optest.Drop},
		{"no fence before the products", sim.BadWgmma, NN, "wgmma.fence", 0, optest.Drop},
		{"products not committed", sim.Race + sim.BadWgmma + sim.AsyncHazard + wrong, NN, "wgmma.commit_group", 0, optest.Drop},
		{"eight rows after half of them", wrong + sim.Uninitialised, NT, "or.b64", 1, descriptor(1, 512, 128)},
		{"the other swizzle", wrong + sim.Uninitialised, NT, "or.b64", 0, descriptor(1, 1024, 64)},
		{"the next 64 columns too near", wrong + sim.Uninitialised, NN, "or.b64", 1, descriptor(4096, 1024, 128)},
		{"the operand not turned", wrong + sim.Uninitialised + sim.OutOfBounds, TN, "wgmma.mma_async", 2, optest.Swap("1, 1, 1, 1", "1, 1, 0, 1")},
		{"no fence behind the barriers' initialisation", sim.ProxyHazard, NN, "fence.mbarrier_init", 0, optest.Drop},
		{"no barrier behind the initialisation", sim.Race + sim.BadMbarrier, NN, "bar.sync", 0, optest.Drop},
	} {
		t.Run(c.name, func(t *testing.T) {
			kernel := slimTile.kernels[c.tr]
			defer hopperFamily.Replace(optest.Plant(t, optest.Alone(hopperFamily.Text(), kernel), kernel, c.part, c.n, c.change))()
			if kind, err := outcome(t, adversary(t, 1), deep(c.tr)); !strings.Contains(c.kinds, kind) {
				t.Errorf("%s (%v), want %s", kind, err, c.kinds)
			}
		})
	}
}

// outcome runs a product and names what became of it.
func outcome(t *testing.T, dev *sim.Device, x matrices) (kind string, err error) {
	var got []float32
	if kind, err = optest.Fault(func() { got = x.runBF16(t, dev) }); kind != "" {
		return kind, err
	}
	exact, _ := x.reference()
	for i, v := range got {
		if i%x.ldc < x.n && !(v-float32(exact[i]) < 1e-2 && v-float32(exact[i]) > -1e-2) {
			return "wrong result", fmt.Errorf("element %d is %v, want %v", i, v, exact[i])
		}
	}
	return "nothing noticed", nil
}

package attention

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// planted is a problem in which every ring buffer wraps around: three tiles of 128 keys, up
// to five of 64, the last ones partial, two heads that share keys, another segment after the
// end.
var planted = Params{Segments: []int32{0, 270, 276}, Heads: 2, KVHeads: 1, HeadDim: 64, Scale: 0.125}

// runPlanted runs forward and backward and returns the first segment's part of all results;
// the values of the other segment are infinite.
func runPlanted(t *testing.T, dev *sim.Device) [][]float32 {
	p, r := planted, optest.Rand(5)
	n := int(p.Segments[2])
	half := func(width int) bf16 {
		x := optest.Normal(r, n*width, 1)
		b := make([]float32, (len(x)+1)/2)
		h := unsafe.Slice((*uint16)(unsafe.Pointer(&b[0])), len(x))
		for i, v := range x {
			if h[i] = uint16(math.Float32bits(v) >> 16); i/width >= int(p.Segments[1]) {
				h[i] = 0x7f80
			}
		}
		return driver.View[driver.BF16](driver.DeviceMemory(optest.In(t, dev, b, 0).Addr(), 2*len(x)))
	}
	out := func(k int) driver.F32 { return optest.In(t, dev, make([]float32, k), 0) }
	wq, wk := p.Heads*p.HeadDim, p.KVHeads*p.HeadDim
	q, k, v, do := half(wq), half(wk), half(wk), half(wq)
	o, lse, dq, dk, dv := out(n*wq), out(n*p.Heads), out(n*wq), out(n*wk), out(n*wk)
	ForwardBF16(dev, p, Inputs[driver.BF16]{Q: q, K: k, V: v}, o, lse)
	BackwardBF16(dev, p, Inputs[driver.BF16]{Q: q, K: k, V: v}, o, lse, do, Gradients{Q: dq, K: dk, V: dv})
	var all [][]float32
	for _, x := range []driver.F32{o, dq, dk, dv} {
		y := optest.Out(t, dev, x)
		all = append(all, y[:len(y)/n*int(p.Segments[1])])
	}
	return all
}

// adversary is an interpreter that runs warps in random order and preempts them anywhere.
func adversary(t *testing.T) *sim.Device {
	dev := sim.New(sim.Options{Unwritten: true, Seed: 1, Capability: 90})
	t.Cleanup(func() { dev.Close() })
	return dev
}

// TestHopperPlantedBugs: missing or wrong parts of the sm_90a kernels are found, as a fault
// of that kind or, where a GPU would only compute something else, as a wrong result. Lines
// are numbered in clang's output.
func TestHopperPlantedBugs(t *testing.T) {
	const wrong = "wrong result"
	const forward, queries, keys = "attention_hopper_forward_64", "attention_hopper_backward_q_64", "attention_hopper_backward_kv_64"
	want := runPlanted(t, adversary(t))
	for _, c := range []struct {
		name, kinds  string
		kernel, part string
		n            int
		change       func(string) string
	}{
		{"keys are not waited for", sim.AsyncHazard + sim.Uninitialised, forward, "@!p bra AGAIN", 2, optest.Drop},
		{"values are not waited for", sim.AsyncHazard + sim.Uninitialised, forward, "@!p bra AGAIN", 3, optest.Drop},
		{"a stage is filled before it is free", sim.AsyncHazard + sim.Race + sim.BadMbarrier, forward, "@!p bra AGAIN", 6, optest.Drop},
		{"keys are given back while multiplied", sim.AsyncHazard + sim.Race + sim.BadWgmma + wrong, forward, "wgmma.wait_group", 1, optest.Swap(" 1;", " 3;")},
		{"a stage is never given back", sim.Deadlock, forward, "mbarrier.arrive.shared", 2, optest.Drop},
		{"one key too many is seen", wrong, forward, "setp.lt.u32", 7, optest.Swap("lt", "le")},
		{"the stranger's values are not erased in time", sim.Race + sim.ProxyHazard + wrong, forward, "fence.proxy.async", 0, optest.Drop},
		{"nobody waits for the erasing", sim.Race + sim.ProxyHazard, forward, "bar.sync", 2, optest.Drop},
		{"no turn is given", sim.Deadlock, forward, "bar.arrive", 1, optest.Drop},
		{"queries: the second product is not waited for", sim.BadWgmma + sim.AsyncHazard + wrong, queries, "wgmma.wait_group", 3, optest.Swap(" 1;", " 2;")},
		{"queries: the last product is not committed", sim.AsyncHazard + sim.Race + sim.BadWgmma + wrong, queries, "wgmma.commit_group", 4, optest.Drop},
		{"keys: fewer bytes expected than come", sim.Race + sim.Deadlock + sim.BadMbarrier + sim.AsyncHazard, keys, "expect_tx", 1, optest.Last("16384")},
		{"keys: lanes may still read what a warp gives back", sim.Race, keys, "bar.warp.sync", 0, optest.Drop},
		{"keys: a stage given back before the last products", sim.AsyncHazard + sim.Race + sim.BadWgmma + wrong, keys, "wgmma.wait_group", 2, optest.Swap(" 0;", " 1;")},
		{"keys: the operand not turned", wrong + sim.Uninitialised + sim.OutOfBounds, keys, "p, 1, 1, 1;", 0, optest.Swap("1, 1, 1;", "1, 1, 0;")},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer familyHopper.Replace(optest.Plant(t, familyHopper.Text(), c.kernel, c.part, c.n, c.change))()
			if kind, err := outcome(t, adversary(t), want); !strings.Contains(c.kinds, kind) {
				t.Errorf("%s (%v), want %s", kind, err, c.kinds)
			}
		})
	}
}

// outcome runs the problem and returns the kind of its fault or wrong result.
func outcome(t *testing.T, dev *sim.Device, want [][]float32) (kind string, err error) {
	var got [][]float32
	if kind, err = optest.Fault(func() { got = runPlanted(t, dev) }); kind != "" {
		return kind, err
	}
	for i, x := range got {
		for j, v := range x {
			if math.Float32bits(v) != math.Float32bits(want[i][j]) {
				return "wrong result", fmt.Errorf("tensor %d: element %d is %v, want %v", i, j, v, want[i][j])
			}
		}
	}
	return "nothing noticed", nil
}

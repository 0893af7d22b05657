package decoder

import (
	"math/rand/v2"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
)

// exactly checks that the largest pass so far, of that many tokens, took the planned memory.
func exactly(t *testing.T, m *Model, tokens int) {
	t.Helper()
	if planned, taken := m.Memory(tokens, tokens).Activations, m.tape.HighWater(); planned != taken {
		t.Errorf("%d bytes planned, %d taken", planned, taken)
	}
}

// mixed is a batch of sequences of random lengths.
func mixed(m *Model, r *rand.Rand, tokens int) Batch {
	b := sequences(m, 1, tokens)
	b.Segments = []int32{0}
	for at := 0; at < tokens; {
		at = min(tokens, at+1+r.IntN(40))
		b.Segments = append(b.Segments, int32(at))
	}
	b.Positions = nil
	return b
}

// TestMemoryAnyOrder: whatever the order of the micro-batches' lengths, and however they are
// divided, a device holds the memory planned for the largest one, in addition to the weights:
// all of it before the first with Reserve, and within 5 % after the largest without. Many long
// ones run on counting devices.
func TestMemoryAnyOrder(t *testing.T) {
	interpreter := func(capability int) driver.Device {
		return sim.New(sim.Options{Uncounted: true, Unchecked: true, Capability: capability})
	}
	for _, c := range []struct {
		name           string
		dev            driver.Device
		passes, tokens int
	}{
		{"cpu", cpu.New(2), 12, 200},
		{"sim", interpreter(80), 2, 70},
		{"sim:90", interpreter(90), 2, 70},
		{"plan of cpu", plan.New(cpu.New(2)), 60, 20000},
		{"plan of sim", plan.New(interpreter(80)), 60, 20000},
		{"plan of sim:90", plan.New(interpreter(90)), 60, 20000},
	} {
		t.Run(c.name, func(t *testing.T) {
			dev := closing(t, c.dev)
			memoryAnyOrder(t, dev, c.passes, c.tokens, "random", true)
			if c.passes > 2 {
				memoryAnyOrder(t, dev, c.passes, c.tokens, "random", false)
				memoryAnyOrder(t, dev, c.passes, c.tokens, "ascending", false)
			}
		})
	}
}

// closing returns dev, which is closed at the end of the test, after its models.
func closing(t *testing.T, dev driver.Device) driver.Device {
	t.Cleanup(func() { dev.Close() })
	return dev
}

func memoryAnyOrder(t *testing.T, dev driver.Device, passes, longest int, order string, reserve bool) {
	t.Helper()
	c := tensorCored()
	c.Layers, c.Window, c.MaxPositions = 1, make([]int, 1), longest
	m := randomOn(t, dev, c, dev.Kind() != driver.CPU)
	adapt(t, m, LoRA{Rank: 8, Alpha: 16, Dropout: 0.1, Targets: []string{"all"}})
	r := rand.New(rand.NewPCG(5, 6))
	lengths := []int{longest}
	for range passes {
		lengths = append(lengths, longest/8+r.IntN(longest*7/8))
	}
	if slices.Sort(lengths); order == "random" {
		r.Shuffle(len(lengths), func(i, j int) { lengths[i], lengths[j] = lengths[j], lengths[i] })
	}
	if err := m.pack(); err != nil { // packed weights are weights, and TestPackedWeights checks their plan
		t.Fatal(err)
	}
	before := dev.Used()
	planned := m.Memory(longest, longest)
	if dev.Used() != before {
		t.Fatalf("planning took %d bytes", dev.Used()-before)
	}
	if reserve {
		if err := m.Reserve(planned); err != nil {
			t.Fatal(err)
		}
	}
	step := func(tokens int) {
		if _, err := m.Backward(mixed(m, r, tokens), Objective{Train: true, Weight: make([]float32, tokens)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range lengths {
		step(n)
	}
	step(lengths[0]) // a pass that needed more memory has released its smaller allocations
	want := planned.Activations
	if dev.Kind() != driver.CPU { // on a CPU the logits are not device memory
		want += planned.Head
	}
	if !reserve {
		want = max(want, 16<<20) // the arena's first allocation
	}
	if taken := dev.Used() - before; float64(taken) > 1.05*float64(want) || reserve && float64(want) > 1.05*float64(taken) {
		t.Errorf("%s, reserved %v: %d bytes taken, %d planned (%+v)", order, reserve, taken, want, planned)
	}
	m.tape.Close()
}

// TestMemoryIsPlannedFast: 80 layers in less than a second.
func TestMemoryIsPlannedFast(t *testing.T) {
	for _, dev := range []driver.Device{cpu.New(1), sim.New(sim.Options{Capability: 90, Units: 132})} {
		dev = closing(t, dev)
		c := tensorCored()
		c.Layers, c.Window = 80, make([]int, 80)
		m := randomOn(t, dev, c, true)
		adapt(t, m, LoRA{Rank: 8, Alpha: 16, Dropout: 0.1, Targets: []string{"all"}})
		start := time.Now()
		b := m.Memory(16384, 16384)
		if d := time.Since(start); d > time.Second {
			t.Errorf("%v: %v", dev.Kind(), d)
		}
		if b.Activations < 80*16384*uint64(c.Hidden)*4 {
			t.Errorf("%v: only %d bytes", dev.Kind(), b.Activations)
		}
	}
}

// anonymous returns the process's memory that is not backed by a file, in bytes.
func anonymous(t *testing.T) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("only Linux tells: ", err)
	}
	kib, err := strconv.Atoi(string(regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return float64(kib) * 1024
}

// TestMemoryOfTheProcess: the process takes the planned memory for a model and its passes,
// within 5 % and the buffers into which the kernels' threads pack.
func TestMemoryOfTheProcess(t *testing.T) {
	const workspaces = 12 << 20
	c := tensorCored()
	c.Vocab, c.Hidden, c.Intermediate, c.Heads, c.KVHeads, c.HeadDim, c.Layers, c.Window = 4096, 256, 704, 4, 2, 64, 6, make([]int, 6)
	debug.FreeOSMemory()
	before := anonymous(t)
	m := random(t, 2, c)
	adapt(t, m, LoRA{Rank: 16, Alpha: 16, Targets: []string{"all"}})
	b := m.Memory(768, 768)
	if err := m.Reserve(b); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{64, 256, 128} {
		if _, err := m.Backward(sequences(m, 3, n), Objective{Train: true}); err != nil {
			t.Fatal(err)
		}
	}
	taken, planned := anonymous(t)-before, float64(b.Total())
	if t.Logf("%.1f MiB taken, %.1f planned", taken/(1<<20), planned/(1<<20)); taken > 1.05*planned+workspaces || taken < 0.8*planned {
		t.Errorf("%.0f bytes taken, %.0f planned (%+v)", taken, planned, b)
	}
}

package gradproj

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
	"dataflex.dev/dataflex/kernels/ptx"
)

// hopperRun projects 1088 rows of three samples with the text given as the Hopper kernel;
// it returns what the interpreter found wrong. 17 stages: the ring goes round twice.
func hopperRun(t *testing.T, text string, o sim.Options) (out []float32, err error) {
	t.Helper()
	defer signsWgmma.Replace(text)()
	o.Unwritten, o.Capability = true, 90
	dev := sim.New(o)
	defer dev.Close()
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(*ptx.Error)
			if !ok {
				panic(r)
			}
			err = e
		}
	}()
	p := mustNew(t, Rademacher, 100, 1088, Options{BF16: true})
	pairs := []pair{newPair(rand.New(rand.NewPCG(21, 22)), 272, 272, 2, 0, 2, 1, 3)}
	out, _ = runPTX(t, dev, p, pairs, false, 0, 3)
	return out, nil
}

// TestHopperUnderAdversarialSchedules: the bits do not depend on the order of warps.
func TestHopperUnderAdversarialSchedules(t *testing.T) {
	optest.Hopper(t) // skips where a GPU is wanted
	want, err := hopperRun(t, signsWgmma.Text(), sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for seed := uint64(1); seed <= 4; seed++ {
		got, err := hopperRun(t, signsWgmma.Text(), sim.Options{Seed: seed, GlobalRaces: seed%2 == 0})
		if err != nil {
			t.Fatal(err)
		}
		optest.Same(t, fmt.Sprint("seed ", seed), got, want)
	}
}

// TestPlantedBugs: what a wrong Hopper kernel would do is found, as a fault or in the bits.
func TestPlantedBugs(t *testing.T) {
	optest.Hopper(t)
	want, err := hopperRun(t, signsWgmma.Text(), sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, old, new, fault string
	}{
		{"a stage is read before it is there", `@!p bra AGAIN;`, ``, sim.Uninitialised},
		{"a stage is released before it is read", `wgmma.wait_group.sync.aligned 1;`, `wgmma.wait_group.sync.aligned 7;`, sim.Race},
		{"a stage is never released", `mbarrier.arrive.shared::cta.b64 _, .*`, ``, sim.Deadlock},
		{"a barrier counts for other bytes", `(expect_tx.*), %r\d+;`, `$1, 8208;`, sim.Deadlock},
		{"the sums are read before the last wait", `wgmma.wait_group.sync.aligned 0;`, ``, sim.BadWgmma},
		{"no fence before the products", `wgmma.fence.sync.aligned;`, ``, sim.BadWgmma},
		{"a tile is described with half its swizzle", `4611686293305360384;`, `9223372311732748288;`, "bits"},
		{"a sign is lost", `, 0x6a;`, `, 0x4a;`, "bits"},
	} {
		text := regexp.MustCompile(c.old).ReplaceAllString(signsWgmma.Text(), c.new)
		if text == signsWgmma.Text() {
			t.Errorf("%s: %q is not in the text", c.name, c.old)
			continue
		}
		got, err := hopperRun(t, text, sim.Options{MaxSteps: 1 << 22})
		var f *sim.Fault
		switch {
		case errors.As(err, &f):
			if f.Kind != c.fault {
				t.Errorf("%s: not %s but %v", c.name, c.fault, f)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.fault != "bits":
			t.Errorf("%s: not found", c.name)
		default:
			same := true
			for i := range want {
				same = same && got[i] == want[i]
			}
			if same {
				t.Errorf("%s: the same bits", c.name)
			}
		}
	}
}

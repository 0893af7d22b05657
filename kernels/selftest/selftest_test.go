package selftest

import (
	"errors"
	"math"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"

	_ "dataflex.dev/dataflex/kernels/peak"
)

// unused are the families whose kernels the self-test does not run, with the reason.
var unused = map[string]string{"peak": "measures", "peak sm_90a": "measures"}

// TestRun: an interpreted GPU of either generation passes, and a kernel of every family is
// launched on one of them.
func TestRun(t *testing.T) {
	launched := map[string]bool{}
	for _, capability := range []int{80, 90} {
		dev := sim.New(sim.Options{Capability: capability, Unwritten: true})
		if err := Run(dev); err != nil {
			t.Errorf("sm_%d: %v", capability, err)
		}
		for _, c := range dev.Totals() {
			launched[c.Kernel] = true
		}
		if used := dev.Used(); used > 64<<20 {
			t.Errorf("%d bytes are left", used)
		}
		dev.Close()
	}
	for _, f := range ptx.Families() {
		found := false
		for _, part := range strings.Split(f.Text(), ".visible .entry ")[1:] {
			name, _, _ := strings.Cut(part, "(")
			found = found || launched[name]
		}
		if _, skip := unused[f.Name()]; found == skip {
			t.Errorf("%s: launched %t", f.Name(), found)
		}
	}
}

// TestFinds: if kernels are wrong, or a device does not run them, the first failing kernel
// is named.
func TestFinds(t *testing.T) {
	for _, planted := range []struct{ family, from, to, want string }{
		{"swiglu", "rcp.rn.f32", "sqrt.rn.f32", "swiglu: result 0: number "},
		{"rope", "st.global", "st.nowhere", "rope: ptx: "}, // which is not valid PTX
	} {
		undo := func() {}
		for _, f := range ptx.Families() {
			if f.Name() == planted.family {
				undo = f.Replace(strings.ReplaceAll(f.Text(), planted.from, planted.to))
			}
		}
		dev := sim.New(sim.Options{})
		err := Run(dev)
		undo()
		var failure *Failure
		if !errors.As(err, &failure) || !strings.HasPrefix(err.Error(), planted.want) {
			t.Errorf("%v, want %s", err, planted.want)
		}
		dev.Close()
	}
	if err := near([]float32{1, float32(math.NaN())}, []float32{1, 2}, 1); err == nil {
		t.Error("NaN passes")
	}
}

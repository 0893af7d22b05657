package optest

import (
	"testing"

	"dataflex.dev/dataflex/driver/sim"
)

// Frugal checks the traffic of a kernel since the last ResetCounters: at most a tenth more
// than `least` bytes of global memory, in full sectors (lanes that read the same address
// count once), without bank conflicts.
func Frugal(t testing.TB, dev *sim.Device, kernel string, least uint64) {
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
		t.Errorf("%s: %d sectors, ideal %d; %d bank conflicts", kernel, g.Units, g.Ideal, c.Conflicts())
	}
}

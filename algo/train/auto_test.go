package train

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/ptx"
)

// TestProve: a device that nobody asked for passes the self-test once for each driver and
// program; one with a wrong kernel does not, and is not remembered.
func TestProve(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	log := slog.New(slog.DiscardHandler)
	for i, want := range []string{"passed", "passed before"} {
		dev := sim.New(sim.Options{})
		tested, err := prove(dev, dir, log)
		if launches := len(dev.Totals()); err != nil || tested != want || (launches > 0) != (i == 0) {
			t.Errorf("%q, %v, %d kernels launched, want %q", tested, err, launches, want)
		}
		dev.Close()
	}
	for _, f := range ptx.Families() {
		if f.Name() == "cast" { // the first that is tried
			defer f.Replace(strings.ReplaceAll(f.Text(), "cvt.rn.bf16x2", "cvt.rz.bf16x2"))()
		}
	}
	dev := sim.New(sim.Options{Capability: 90}) // another device
	defer dev.Close()
	if _, err := prove(dev, dir, log); err == nil || !strings.HasPrefix(err.Error(), "cast: ") {
		t.Errorf("%v", err)
	}
	if kept, err := os.ReadDir(dir); err != nil || len(kept) != 1 {
		t.Errorf("%v, %v", kept, err)
	}
}

// TestAutoWithoutGPU: where there is none the processor is taken, and the log says why.
func TestAutoWithoutGPU(t *testing.T) {
	var text strings.Builder
	dev, err := OpenDevice("auto", slog.New(slog.NewTextHandler(&text, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if !strings.Contains(text.String(), "no_gpu=") {
		t.Errorf("%s", text.String())
	}
}

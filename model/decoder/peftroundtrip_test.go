package decoder

import (
	"path/filepath"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// adapterRoundTrip: PEFT's adapter in dir on the model in base has PEFT's loss, is saved as it
// was, and can be merged. It returns a model with a new adapter on every linear layer, which it
// has saved to out.
func adapterRoundTrip(t *testing.T, ids []int32, base, dir, out string, loss float64) *Model {
	t.Helper()
	m := load(t, base, Options{})
	must(t, m.LoadAdapter(dir))
	meanLoss(t, m, ids, loss)
	must(t, m.SaveAdapter(out))
	sameTensors(t, filepath.Join(out, storage.AdapterFile), filepath.Join(dir, storage.AdapterFile))

	must(t, m.Merge())
	merged := t.TempDir()
	must(t, m.SaveFull(merged))
	meanLoss(t, load(t, merged, Options{}), ids, loss)

	fresh := load(t, base, Options{})
	adapt(t, fresh, LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}})
	must(t, fresh.SaveAdapter(out))
	return fresh
}

// likePEFT: the adapter of m, saved in out, has the tensors and the targets of PEFT's in dir.
func likePEFT(t *testing.T, m *Model, out, dir string) {
	t.Helper()
	if got, want := shapesOf(t, out), shapesOf(t, dir); got != want {
		t.Errorf("a new adapter has\n%s, PEFT's\n%s", got, want)
	}
	sameModules(t, m, out, dir)
}

// closeToHost: losses and gradients of a device equal the host's within the rounding of
// float32, or of bf16 where half is set.
func closeToHost(t *testing.T, label string, half bool, got, want passed) {
	t.Helper()
	tolerance := map[bool]float64{false: 1e-4, true: 3e-2}[half]
	if d := distance(got.losses, want.losses); d > tolerance {
		t.Errorf("%s: losses are off by %.1e", label, d)
	}
	for name, w := range want.gradients {
		if d := distance(got.gradients[name], w); d > 3*tolerance {
			t.Errorf("%s: the gradient of %s is off by %.1e", label, name, d)
		}
	}
}

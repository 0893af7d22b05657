package optest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/sim"
)

// TestUnlaunched: an entry counts when a device from Device has run it, and only under its
// own target.
func TestUnlaunched(t *testing.T) {
	const head, entry = ".version 7.0\n.target TARGET\n.address_size 64\n", ".visible .entry NAME()\n{\nret;\n}\n"
	text := func(target string, names ...string) (s string) {
		s = strings.Replace(head, "TARGET", target, 1)
		for _, n := range names {
			s += strings.Replace(entry, "NAME", n, 1)
		}
		return s
	}
	dir := t.TempDir()
	for name, s := range map[string]string{"a.sm80.ptx": text("sm_80", "one", "two"), "a.sm90a.ptx": text("sm_90a", "one")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("launch", func(t *testing.T) {
		dev := Device(t, 80)
		m, err := dev.LoadModule("a", []byte(text("sm_80", "one", "two")))
		if err != nil {
			t.Fatal(err)
		}
		f, err := m.Function("one")
		if err == nil {
			err = dev.Launch(f, driver.Config{}, &driver.Args{})
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	missing, err := unlaunched(dir)
	want := []string{filepath.Join(dir, "a.sm80.ptx: two"), filepath.Join(dir, "a.sm90a.ptx: one")}
	if err != nil || !slices.Equal(missing, want) {
		t.Errorf("%v, %v, want %v", missing, err, want)
	}
	delete(launched, sim.Entry{Target: "sm_80", Name: "one"})
	if _, err := unlaunched(t.TempDir()); err == nil {
		t.Error("a folder without PTX")
	}
}

package optest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dataflex.dev/dataflex/driver/sim"
)

// launched is the kernels that tests have launched on devices from Device.
var (
	mu       sync.Mutex
	launched = map[sim.Entry]bool{}
)

func record(d *sim.Device) {
	mu.Lock()
	defer mu.Unlock()
	for _, e := range d.Launched() {
		launched[e] = true
	}
}

// Main is TestMain of a package with PTX. When all of its tests have passed, every entry of
// its PTX files must have been launched by a test that got its device from Device, because
// those compare results. The check is skipped if only some of the tests run, or on a GPU.
func Main(m *testing.M) {
	code := m.Run()
	if code == 0 && everything() {
		missing, err := unlaunched(".")
		if err != nil {
			missing = append(missing, err.Error())
		}
		for _, e := range missing {
			fmt.Fprintf(os.Stderr, "no test of results launched %s\n", e)
			code = 1
		}
	}
	os.Exit(code)
}

// everything reports whether all tests ran, on the interpreter.
func everything() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	v := os.Getenv(DeviceEnv)
	return !testing.Short() && (v == "" || v == "sim")
}

// unlaunched lists the entries of the PTX files of a folder that no test launched.
func unlaunched(dir string) (missing []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.ptx"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("PTX files: %d found (%v)", len(files), err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		entries, err := sim.Entries(f, string(text))
		if err != nil {
			return nil, err
		}
		if n := strings.Count(string(text), ".entry "); n != len(entries) {
			return nil, fmt.Errorf("%s: %d entries read, the text has %d", f, len(entries), n)
		}
		for _, e := range entries {
			if !launched[e] {
				missing = append(missing, f+": "+e.Name)
			}
		}
	}
	return missing, nil
}

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

// launched are the kernels that tests have launched on what Device gave them.
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
// every PTX file beside them must have been launched by one that asked Device for a device,
// which is where results are compared. What runs only some of the tests, or on a GPU, is
// not held to that.
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

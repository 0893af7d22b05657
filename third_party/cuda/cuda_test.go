//go:build cuda && cgo && linux

package cuda

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	os.Setenv("DATAFLEX_LIBCUDA", "none")
	os.Exit(m.Run())
}

// The calls themselves are tested in driver/cuda, against a fake driver.
func TestWithoutADriver(t *testing.T) {
	if why := Why(); !strings.Contains(why, "none: cannot open shared object file") {
		t.Errorf("Why() = %q", why)
	}
	if path := Path(); path != "" {
		t.Errorf("Path() = %q", path)
	}
}

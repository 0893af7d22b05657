//go:build !(cuda && cgo && linux)

package cuda

import (
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

func TestABuildWithoutCUDASaysSo(t *testing.T) {
	_, openErr := Open(0)
	n, err := Available()
	if n != 0 || err == nil || openErr == nil {
		t.Fatalf("Available() = %d, %v; Open: %v", n, err, openErr)
	}
	for _, want := range []string{"built without CUDA support", "make", "-tags cuda"} {
		if !strings.Contains(err.Error(), want) || !strings.Contains(openErr.Error(), want) {
			t.Errorf("%q and %q lack %q", err, openErr, want)
		}
	}
}

// The stub's Device has the methods of the real one, so that callers compile with either.
var (
	_ driver.Launcher = (*Device)(nil)
	_ Describer       = (*Device)(nil)
	_ Queuer          = (*Device)(nil)
	_ Sharer          = (*Device)(nil)
	_ Stager          = (*Device)(nil)
	_ Grapher         = (*Device)(nil)
)

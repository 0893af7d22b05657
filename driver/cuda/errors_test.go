package cuda

import (
	"errors"
	"fmt"
	"testing"

	"dataflex.dev/dataflex/driver"
)

// TestRefusedLaunches: another kernel may do what the driver did not launch, but not after a
// fault, and not where another call failed.
func TestRefusedLaunches(t *testing.T) {
	for _, c := range []struct {
		call    string
		code    Code
		refused bool
	}{
		{"cuLaunchKernel", 912, true}, // CUDA_ERROR_INVALID_CLUSTER_SIZE
		{"cuLaunchKernel", 801, true}, // CUDA_ERROR_NOT_SUPPORTED
		{"cuLaunchKernel", IllegalAddress, false},
		{"cuLaunchKernel", OutOfMemory, false},
		{"cuFuncSetAttribute", 801, false},
	} {
		err := fmt.Errorf("cuda: launch: %w", &Error{Call: c.call, Code: c.code})
		if got := errors.Is(err, driver.ErrRefused); got != c.refused {
			t.Errorf("%s, %v: refused %v", c.call, c.code, got)
		}
		if !errors.Is(err, c.code) {
			t.Errorf("%v is not in the error", c.code)
		}
	}
}

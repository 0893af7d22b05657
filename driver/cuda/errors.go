package cuda

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
)

// Code is a result of the CUDA driver API (CUresult). It is an error so that callers can
// test for it with errors.Is(err, cuda.OutOfMemory).
type Code int

// The codes that callers distinguish.
const (
	OutOfMemory           Code = 2
	NoDevice              Code = 100
	InvalidPTX            Code = 218
	JITCompilerNotFound   Code = 221
	UnsupportedPTXVersion Code = 222
	SymbolNotFound        Code = 302
	NotReady              Code = 600
	IllegalAddress        Code = 700
)

func (c Code) Error() string { return fmt.Sprintf("CUDA error %d", int(c)) }

// lost reports whether the context is unusable after this error: a kernel did something from
// which the GPU does not recover.
func (c Code) lost() bool {
	switch c {
	case IllegalAddress, 702, 710, 714, 715, 716, 717, 718, 719:
		return true
	}
	return false
}

// refusal reports whether a launch that failed so may succeed with another kernel: the GPU,
// a part of one (MIG) or the driver does not run clusters of that size.
func (c Code) refusal() bool {
	switch c {
	case 1, 701, 801, 912: // INVALID_VALUE, LAUNCH_OUT_OF_RESOURCES, NOT_SUPPORTED, INVALID_CLUSTER_SIZE
		return true
	}
	return false
}

// Error is a driver call that failed.
type Error struct {
	Call string // the function's name in the driver API
	Code Code
	Name string // CUDA_ERROR_…
	Text string // the driver's description, and our addition where there is one
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %s (%d): %s", e.Call, e.Name, int(e.Code), e.Text)
}

// Unwrap is the code.
func (e *Error) Unwrap() error { return e.Code }

// Is reports a launch that was refused as driver.ErrRefused.
func (e *Error) Is(target error) bool {
	return target == driver.ErrRefused && e.Call == "cuLaunchKernel" && e.Code.refusal()
}

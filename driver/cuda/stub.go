//go:build !(cuda && cgo && linux)

package cuda

import (
	"errors"

	"dataflex.dev/dataflex/driver"
)

// Built reports whether this program includes the CUDA driver.
const Built = false

var errBuild = errors.New("cuda: this program was built without CUDA support; build it with make on Linux (go build -tags cuda with the flags the Makefile sets)")

// Device stands in for the GPU in builds without CUDA; it is never created.
type Device struct {
	driver.Launcher
	Describer
	Queuer
	Sharer
	Stager
	Grapher
}

// Open returns an error: this build has no CUDA support.
func Open(int) (*Device, error) { return nil, errBuild }

// Available returns an error: this build has no CUDA support.
func Available() (int, error) { return 0, errBuild }

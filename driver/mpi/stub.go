//go:build !(cgo && linux)

package mpi

import (
	"context"
	"errors"

	"dataflex.dev/dataflex/driver"
)

// Open returns an error: this build cannot open MPI.
func Open(context.Context, Want, driver.Device) (driver.Collective, error) {
	return nil, errors.New("mpi: this program was built without cgo, which opening an MPI needs; build it with make on Linux with gcc (CGO_ENABLED=1)")
}

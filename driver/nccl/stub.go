//go:build !(cgo && linux)

package nccl

import (
	"context"
	"errors"

	"dataflex.dev/dataflex/driver"
)

var errBuild = errors.New("nccl: this program was built without cgo, which opening NCCL needs; build it with make on Linux with gcc (CGO_ENABLED=1)")

// NewID returns an error: this build cannot open NCCL.
func NewID() ([]byte, error) { return nil, errBuild }

// Open returns an error: this build cannot open NCCL.
func Open(context.Context, []byte, int, int, driver.Device) (driver.Collective, error) {
	return nil, errBuild
}

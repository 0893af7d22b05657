//go:build !unix

package checkpoint

import (
	"errors"
	"os"
)

// lockFolder fails: there are no folder locks here.
func lockFolder(path string) (*os.File, error) { return nil, errors.ErrUnsupported }

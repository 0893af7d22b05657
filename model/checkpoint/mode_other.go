//go:build !unix

package checkpoint

import "io/fs"

// masked is the mode that a new file or folder asked for with mode would have.
func masked(mode fs.FileMode) fs.FileMode { return mode }

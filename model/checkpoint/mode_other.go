//go:build !unix

package checkpoint

import "io/fs"

// fileMode is the mode an ordinary new file has.
func fileMode() fs.FileMode { return 0o666 }

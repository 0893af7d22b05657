//go:build !unix

package checkpoint

import "os"

// mapFile reads the file: there is no mmap here.
func mapFile(path string) (b []byte, unmap func() error, err error) {
	b, err = os.ReadFile(path)
	return b, func() error { return nil }, err
}

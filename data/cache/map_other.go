//go:build !unix

package cache

import (
	"errors"
	"os"
)

// mapFile reads the file: there is no mmap here.
func mapFile(path string) (b []byte, unmap func() error, err error) {
	b, err = os.ReadFile(path)
	return b, func() error { return nil }, err
}

func forget([]byte) {}

// lockFolder fails: folders are not locked here, and none is ever taken for abandoned.
func lockFolder(string) (*os.File, error) { return nil, errors.ErrUnsupported }

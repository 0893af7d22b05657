//go:build unix

package checkpoint

import (
	"fmt"
	"os"
	"syscall"
)

// lockFolder takes the exclusive lock on a folder, or fails at once when someone
// has it. Closing the file, or dying, releases it.
func lockFolder(path string) (*os.File, error) {
	d, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return d, nil
}

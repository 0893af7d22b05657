//go:build unix

package storage

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestInputsThatNeverEnd: a FIFO without a writer is not waited for, a device is not read.
func TestInputsThatNeverEnd(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{fifo: "is a pipe (FIFO)", "/dev/zero": "is a device", "/dev/null": "is a device"} {
		if _, err := ReadInput(path, 1<<20); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v does not say %q", path, err, want)
		}
	}
}

//go:build unix

package dataset

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/data"
)

// TestFIFO: a data file that is a pipe is refused, not waited for.
func TestFIFO(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "rows.jsonl"), 0o600); err != nil {
		t.Fatal(err)
	}
	write(t, dir, InfoFile, `{"rows":{"file_name":"rows.jsonl"},"many":{"file_name":"rows.jsonl","num_samples":1000000000000000000}}`)
	c, err := OpenCatalog(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Source("rows")
	if err == nil {
		err = Each(t.Context(), s, 0, 1, func([]data.Sample) (int, error) { return 0, nil }, func(int) error { return nil })
	}
	if err == nil || !strings.Contains(err.Error(), "rows.jsonl is a pipe (FIFO)") {
		t.Errorf("a FIFO: %v", err)
	}
	if _, err := c.Source("many"); err == nil || !strings.Contains(err.Error(), "num_samples is 1000000000000000000; at most 268435456") {
		t.Errorf("num_samples: %v", err)
	}
}

package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file of any size can be interrupted while it is hashed.
func TestInterruptedHash(t *testing.T) {
	o := options(t, folderOf(t), nil)
	if err := os.Truncate(filepath.Join(o.DatasetDir, "a.jsonl"), 1<<40); err != nil {
		t.Skip(err) // a file system without sparse files
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Load(ctx, o); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "interrupted while reading ") {
		t.Error(err)
	}
}

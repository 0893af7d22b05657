package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/command"
)

// lockInfo locks the dataset_info.json of a folder, so that of two commands that add an entry
// at the same time the second waits, and keeps the first's. The caller releases it.
func lockInfo(ctx context.Context, dir string) (*storage.Lock, error) {
	l, err := storage.WaitLock(ctx, filepath.Join(dir, "."+dataset.InfoFile+".lock"), func(h *storage.Held) {
		command.Logger(os.Stderr).Info("another command is writing here: waiting for it", "file", filepath.Join(dir, dataset.InfoFile), "pid", h.Owner.PID, "host", h.Owner.Host)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, dataset.InfoFile), err)
	}
	return l, nil
}

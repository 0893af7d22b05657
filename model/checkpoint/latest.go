package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// found is a folder checkpoint-N.
type found struct {
	path string
	step int
}

// list returns all folders checkpoint-N of outputDir, or symbolic links to folders, complete
// or not, in no particular order. A missing outputDir has none.
func list(outputDir string) ([]found, error) {
	entries, err := storage.ReadDir(outputDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []found
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), storage.StepPrefix)
		step, err := strconv.Atoi(digits)
		if !ok || err != nil || step < 0 {
			continue
		}
		path := filepath.Join(outputDir, e.Name())
		if info, err := storage.Stat(path); err == nil && info.IsDir() {
			out = append(out, found{path, step})
		}
	}
	return out, nil
}

// Newest finds the complete checkpoint-N with the highest N and checks all its hashes.
// skipped has one line with the reason for each higher one that is not complete. path is ""
// if there is none.
func Newest(outputDir string) (path string, step int, skipped []string, err error) {
	all, err := list(outputDir)
	if err != nil {
		return "", 0, nil, err
	}
	slices.SortFunc(all, func(a, b found) int { return b.step - a.step })
	for _, c := range all {
		if err := storage.Verify(c.path); err != nil {
			skipped = append(skipped, fmt.Sprintf("skipped the checkpoint of step %d: %v", c.step, err))
			continue
		}
		return c.path, c.step, skipped, nil
	}
	return "", 0, skipped, nil
}

// After lists the names of the folders checkpoint-N with N above step, complete or not.
func After(outputDir string, step int) (names []string, err error) {
	all, err := list(outputDir)
	for _, c := range all {
		if c.step > step {
			names = append(names, filepath.Base(c.path))
		}
	}
	slices.Sort(names)
	return names, err
}

// Rotate removes the checkpoints with the lowest steps until limit are left
// (save_total_limit; 0 or less keeps all). Those in keep (the newest, the best) are never
// removed, even if more than limit are left. It returns what it removed; the error names
// checkpoints that could not be removed, and the others are removed nevertheless.
func Rotate(outputDir string, limit int, keep ...string) (removed []string, err error) {
	if limit <= 0 {
		return nil, nil
	}
	all, err := list(outputDir)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b found) int { return a.step - b.step })
	left := len(all)
	var faults []error
	for _, c := range all {
		if left <= limit {
			break
		}
		if slices.ContainsFunc(keep, func(k string) bool { return filepath.Clean(k) == filepath.Clean(c.path) }) {
			continue
		}
		if err := Remove(c.path); err != nil {
			faults = append(faults, err)
			continue
		}
		removed = append(removed, c.path)
		left--
	}
	return removed, errors.Join(faults...)
}

// Remove deletes a checkpoint: a partially deleted one never has its name.
func Remove(path string) error {
	if err := storage.RemoveFolder(path); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

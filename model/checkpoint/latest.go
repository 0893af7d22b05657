package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const stepPrefix = "checkpoint-"

// found is a folder checkpoint-N.
type found struct {
	path string
	step int
}

// StepName is the folder name of a checkpoint after that many optimizer steps.
func StepName(step int) string { return stepPrefix + strconv.Itoa(step) }

// list gives all folders checkpoint-N of outputDir, complete or not, in no
// particular order. A missing outputDir has none.
func list(outputDir string) ([]found, error) {
	entries, err := os.ReadDir(outputDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []found
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), stepPrefix)
		step, err := strconv.Atoi(digits)
		if !ok || err != nil || step < 0 || !e.IsDir() {
			continue
		}
		out = append(out, found{filepath.Join(outputDir, e.Name()), step})
	}
	return out, nil
}

// Newest finds the complete checkpoint-N with the highest N and checks all its
// hashes. skipped has one line for each higher one that is not complete, saying
// why. path is "" when there is none.
func Newest(outputDir string) (path string, step int, skipped []string, err error) {
	all, err := list(outputDir)
	if err != nil {
		return "", 0, nil, err
	}
	slices.SortFunc(all, func(a, b found) int { return b.step - a.step })
	for _, c := range all {
		if err := Verify(c.path); err != nil {
			skipped = append(skipped, fmt.Sprintf("skipped the checkpoint of step %d: %v", c.step, err))
			continue
		}
		return c.path, c.step, skipped, nil
	}
	return "", 0, skipped, nil
}

// Latest is Newest without the notes: ok is false when no checkpoint is complete.
func Latest(outputDir string) (path string, step int, ok bool, err error) {
	path, step, _, err = Newest(outputDir)
	return path, step, path != "", err
}

// Rotate removes the checkpoints of the fewest steps until limit are left
// (save_total_limit; 0 or less keeps all). Those in keep (the newest, the best) are
// never removed, even if that leaves more than limit. It returns what it removed; what
// could not be removed is in the error, and does not keep the others.
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

// Remove deletes a checkpoint: first under a dot name, so that half of it never looks
// like one.
func Remove(path string) error {
	doomed := filepath.Join(filepath.Dir(path), tempPrefix+"removed-"+filepath.Base(path))
	if err := errors.Join(os.RemoveAll(doomed), os.Rename(path, doomed), os.RemoveAll(doomed)); err != nil {
		return fmt.Errorf("removing %s: %w", path, err)
	}
	return nil
}

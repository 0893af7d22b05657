package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const stepPrefix = "checkpoint-"

// found is a folder checkpoint-N.
type found struct {
	path  string
	step  int
	saved time.Time // when its manifest, or the folder, was written
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
		c := found{path: filepath.Join(outputDir, e.Name()), step: step}
		info, err := os.Stat(filepath.Join(c.path, manifestFile))
		if err != nil {
			if info, err = e.Info(); err != nil {
				continue // removed since
			}
		}
		c.saved = info.ModTime()
		out = append(out, c)
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

// Rotate removes the oldest checkpoints until limit are left (save_total_limit;
// 0 or less keeps all). Age is when a checkpoint was saved, not its number: a
// new run in an old folder starts again at low numbers. Those in keep (the newest,
// the best) are never removed, even if that leaves more than limit. It returns
// what it removed.
func Rotate(outputDir string, limit int, keep ...string) (removed []string, err error) {
	if limit <= 0 {
		return nil, nil
	}
	all, err := list(outputDir)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(a.saved.Compare(b.saved), a.step-b.step)
	})
	left := len(all)
	for _, c := range all {
		if left <= limit {
			break
		}
		if slices.ContainsFunc(keep, func(k string) bool { return filepath.Clean(k) == filepath.Clean(c.path) }) {
			continue
		}
		// First under a dot name, so that half of it never looks like a checkpoint.
		doomed := filepath.Join(outputDir, tempPrefix+"removed-"+filepath.Base(c.path))
		if err := errors.Join(os.RemoveAll(doomed), os.Rename(c.path, doomed), os.RemoveAll(doomed)); err != nil {
			return removed, fmt.Errorf("removing %s: %w", c.path, err)
		}
		removed = append(removed, c.path)
		left--
	}
	return removed, nil
}

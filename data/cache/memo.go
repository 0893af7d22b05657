package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// memoFrom is the size from which a file's hash is remembered.
const memoFrom = 4 << 20

// settle is how old a file's newest change must be for its hash to be remembered: two
// writes within the clock's grain would look the same.
const settle = 2 * time.Second

// memo is a file's hash and what the file looked like, as git's index keeps it.
type memo struct {
	Path   string `json:"path"`
	Stamp  string `json:"stamp"`
	SHA256 string `json:"sha256"`
}

// hashFile returns the SHA-256 of a file. That of a large one is remembered under dir
// ("" = not), and believed as long as size, times and inode are the same, so that
// gigabytes need not be read again only to learn that they have not changed.
func hashFile(dir, path string) (string, error) {
	f, err := storage.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	mark, changed := storage.Stamp(f, info)
	remember := dir != "" && mark != "" && info.Size() >= memoFrom
	var at string
	if remember {
		if path, err = filepath.Abs(path); err != nil {
			return "", err
		}
		at = filepath.Join(dir, "files", fmt.Sprintf("%x.json", sha256.Sum256([]byte(path))))
		var m memo
		if text, err := storage.ReadFile(at); err == nil && json.Unmarshal(text, &m) == nil && m.Path == path && m.Stamp == mark {
			return m.SHA256, nil
		}
	}
	h := sha256.New()
	if _, err := io.CopyBuffer(h, f, make([]byte, 1<<20)); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if remember && time.Since(changed) > settle {
		// Not remembering costs time only.
		text, _ := json.Marshal(memo{Path: path, Stamp: mark, SHA256: sum})
		if storage.MkdirAll(filepath.Dir(at)) == nil {
			_ = storage.WriteFile(at, text)
		}
	}
	return sum, nil
}

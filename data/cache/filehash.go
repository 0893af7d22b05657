package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// memoFrom is the size in bytes from which a file's hash is remembered.
const memoFrom = 4 << 20

// settle is how long ago a file must have changed for its hash to be remembered: two writes
// within the resolution of the clock would look the same.
const settle = 2 * time.Second

// memo is a file's hash and the metadata it had then, as in git's index.
type memo struct {
	Path   string `json:"path"`
	Stamp  string `json:"stamp"`
	SHA256 string `json:"sha256"`
}

// hashFile returns the SHA-256 of a file. The hash of a large file is stored under dir ("" =
// not stored) and reused while size, times and inode are unchanged, so that gigabytes are not
// read again just to learn that they are the same. mark is the file's storage.Stamp.
func hashFile(ctx context.Context, dir, path string) (sum, mark string, err error) {
	f, err := storage.Open(path)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	mark, changed := storage.Stamp(f, info)
	remember := dir != "" && mark != "" && info.Size() >= memoFrom
	var at string
	if remember {
		if path, err = filepath.Abs(path); err != nil {
			return "", "", err
		}
		at = filepath.Join(dir, "files", fmt.Sprintf("%x.json", sha256.Sum256([]byte(path))))
		var m memo
		if text, err := storage.ReadFile(at); err == nil && json.Unmarshal(text, &m) == nil && m.Path == path && m.Stamp == mark {
			return m.SHA256, mark, nil
		}
	}
	h, in := sha256.New(), io.Reader(f)
	if info.Size() >= memoFrom {
		in = interruptible{ctx, f}
	}
	_, err = io.CopyBuffer(h, in, make([]byte, 1<<20))
	if errors.Is(err, context.Canceled) {
		return "", "", fmt.Errorf("interrupted while reading %s: %w", path, err)
	}
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", path, err)
	}
	sum = hex.EncodeToString(h.Sum(nil))
	if remember && time.Since(changed) > settle {
		// Failing to store the hash only costs time.
		text, _ := json.Marshal(memo{Path: path, Stamp: mark, SHA256: sum})
		if storage.MkdirAll(filepath.Dir(at)) == nil {
			_ = storage.WriteFile(at, text)
		}
	}
	return sum, mark, nil
}

// unchanged checks that a file is still the one that had this mark, so that rows are never kept
// under the name of another content.
func unchanged(path, mark string) error {
	f, err := storage.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if now, _ := storage.Stamp(f, info); now != mark {
		return fmt.Errorf("%s changed while it was read: start again when nothing writes to it", path)
	}
	return nil
}

// interruptible ends the reading of a large file, which may take minutes, when ctx does.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

package board

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"dataflex.dev/dataflex/data/storage"
)

// private is the folder of a board's own files, readable only by the user; each folder of runs
// has its own.
func private(home, dir string) (string, error) {
	sum := sha256.Sum256([]byte(dir))
	path := filepath.Join(home, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(home, 0o700); err != nil {
		return "", fmt.Errorf("board: the folder of its own files: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("board: the folder of its own files: %w", err)
	}
	info, err := os.Lstat(path)
	if err == nil && (!info.IsDir() || !onlyMine(info)) {
		err = fmt.Errorf("%s can be read by other users, or belongs to one: remove it", path)
	}
	if err != nil {
		return "", fmt.Errorf("board: the folder of its own files: %w", err)
	}
	return path, nil
}

// tokenBytes is the number of random bytes of a token, enough that it cannot be guessed.
const tokenBytes = 32

var written = regexp.MustCompile(fmt.Sprintf(`^[0-9a-f]{%d}$`, 2*tokenBytes))

// token is the secret in the address. It is the same for all boards of the folder, so that an
// open page finds the next one; a token file that others could have read is replaced. Of boards
// that are opened at the same time the first makes it.
func token(home string) (text string, err error) {
	lock, err := storage.WaitLock(context.Background(), filepath.Join(home, "token.lock"), nil)
	if err != nil {
		return "", fmt.Errorf("board: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	path := filepath.Join(home, "token")
	if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && onlyMine(info) {
		if raw, err := os.ReadFile(path); err == nil && written.Match(raw) {
			return string(raw), nil
		}
	}
	var secret [tokenBytes]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", fmt.Errorf("board: %w", err)
	}
	text = hex.EncodeToString(secret[:])
	return text, writePrivate(path, []byte(text))
}

// writePrivate writes a file that nobody else can read, not even while it is being written.
func writePrivate(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-") // 0600
	if err != nil {
		return fmt.Errorf("board: %w", err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("board: %w", errors.Join(err, storage.RemoveIfThere(f.Name())))
	}
	return nil
}

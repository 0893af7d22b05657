package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"dataflex.dev/dataflex/data/storage"
)

// Content names by its bytes a file, or what a model's or adapter's folder computes
// with: its configurations and safetensors files. Equal texts mean equal bytes.
func Content(path string) (string, error) {
	info, err := storage.Stat(path)
	if err != nil {
		return "", err
	}
	files := []string{path}
	if info.IsDir() {
		entries, err := storage.ReadDir(path)
		if err != nil {
			return "", err
		}
		files = nil
		for _, e := range entries {
			if n := e.Name(); n == storage.ConfigFile || n == storage.AdapterConfigFile || filepath.Ext(n) == ".safetensors" {
				files = append(files, filepath.Join(path, n))
			}
		}
		slices.Sort(files)
	}
	h := sha256.New()
	for _, f := range files {
		sum, err := contentOfFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %s\n", filepath.Base(f), sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// hashedAtOnce is how much of a file one goroutine hashes.
const hashedAtOnce = 64 << 20

// contentOfFile is the hash of the hashes of a file's pieces, which are made side by side.
func contentOfFile(path string) (string, error) {
	f, err := storage.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	sums := make([][]byte, (info.Size()+hashedAtOnce-1)/hashedAtOnce)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range sums {
		g.Go(func() error {
			piece := sha256.New()
			if _, err := io.Copy(piece, io.NewSectionReader(f, int64(i)*hashedAtOnce, hashedAtOnce)); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			sums[i] = piece.Sum(nil)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", info.Size())
	for _, s := range sums {
		h.Write(s)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
)

// Content identifies by its bytes a file, or the files of a model's or adapter's folder that
// affect the computation: its configurations and safetensors files. Equal texts mean equal
// bytes.
func Content(path string) (string, error) {
	files, err := contentFiles(path)
	if err != nil {
		return "", err
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

// Marks is what the metadata of the files of Content says about their bytes: while it is the
// same, nothing has been written to them, and none was replaced.
func Marks(path string) (string, error) {
	files, err := contentFiles(path)
	if err != nil {
		return "", err
	}
	var marks strings.Builder
	for _, name := range files {
		mark, err := markOf(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&marks, "%s %s\n", filepath.Base(name), mark)
	}
	return marks.String(), nil
}

func markOf(path string) (string, error) {
	f, err := storage.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	mark, _ := storage.Stamp(f, info)
	return mark, nil
}

// contentFiles are the file, or the files of the folder, that Content hashes, sorted.
func contentFiles(path string) ([]string, error) {
	info, err := storage.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := storage.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if n := e.Name(); n == storage.ConfigFile || n == storage.AdapterConfigFile || filepath.Ext(n) == ".safetensors" {
			files = append(files, filepath.Join(path, n))
		}
	}
	slices.Sort(files)
	return files, nil
}

// hashedAtOnce is the number of bytes of a file that one goroutine hashes.
const hashedAtOnce = 64 << 20

// contentOfFile is the hash of the hashes of a file's pieces, which are computed in
// parallel.
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
	workers := min(runtime.GOMAXPROCS(0), len(sums))
	faults := make([]error, workers)
	var g task.Group
	for w := range workers {
		g.Go(func() {
			for i := w; i < len(sums); i += workers {
				piece := sha256.New()
				if _, err := io.Copy(piece, io.NewSectionReader(f, int64(i)*hashedAtOnce, hashedAtOnce)); err != nil {
					faults[w] = fmt.Errorf("%s: %w", path, err)
					return
				}
				sums[i] = piece.Sum(nil)
			}
		})
	}
	g.Wait()
	if err := errors.Join(faults...); err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", info.Size())
	for _, s := range sums {
		h.Write(s)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dataflex.dev/dataflex/data/hub"

	"dataflex.dev/dataflex/data/storage"
)

var byteOrderMark = []byte("\xef\xbb\xbf")

// kinds maps a file name's extension to how its rows are read; .gz and .zst are removed first.
// json and jsonl are one kind, because upstream distinguishes them by content.
var kinds = map[string]string{"json": "json", "jsonl": "json", "csv": "csv", "txt": "text", "parquet": "parquet"}

// source is one data file.
type source struct {
	path     string
	kind     string // json, csv, text or parquet
	compress string // "", gz or zst
}

// newSource decides by its name how to read a file.
func newSource(path string) (source, error) {
	s := source{path: path}
	name := strings.ToLower(filepath.Base(path))
	for _, c := range []string{"gz", "zst"} {
		if strings.HasSuffix(name, "."+c) {
			s.compress = c
			name = strings.TrimSuffix(name, "."+c)
		}
	}
	extension := strings.TrimPrefix(filepath.Ext(name), ".")
	s.kind = kinds[extension]
	switch {
	case extension == "arrow":
		return s, fmt.Errorf("%s: arrow files are not read; convert it once, for example: "+
			`python -c "import datasets; datasets.Dataset.from_file('%s').to_parquet('%s')" and name the .parquet in file_name`,
			path, path, strings.TrimSuffix(path, ".arrow")+".parquet")
	case s.kind == "parquet" && s.compress != "":
		return s, fmt.Errorf("%s: parquet files are compressed inside and are not read through .%s: decompress it", path, s.compress)
	case s.kind == "":
		return s, fmt.Errorf("%s: allowed file types: csv, json, jsonl, txt, each also with .gz or .zst, and parquet", path)
	}
	return s, nil
}

// sources lists the files of an entry: the file itself, or a folder's files sorted by name
// (upstream takes them in the file system's order). Hidden files and folders inside are
// skipped.
func (a *attributes) sources(dir string) ([]source, error) {
	where := fmt.Sprintf("dataset %s in %s", a.name, a.info)
	if a.hub != "" {
		paths, err := hub.DataFiles(a.hub, a.subset, a.splitName, a.folder)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		return newSources(where, paths)
	}
	path := a.file
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, a.file)
	}
	stat, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		for _, c := range []string{".gz", ".zst"} {
			if _, err := os.Stat(path + c); err == nil {
				return nil, fmt.Errorf("%s: File %s not found, but %s is there: set file_name to %s", where, path, path+c, a.file+c)
			}
		}
		return nil, fmt.Errorf("%s: File %s not found; file_name is relative to the folder of %s", where, path, InfoFile)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	paths := []string{path}
	if stat.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		paths = nil
		for _, e := range entries {
			if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
				paths = append(paths, filepath.Join(path, e.Name()))
			}
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("%s: the folder %s holds no file", where, path)
		}
	}
	return newSources(where, paths)
}

// newSources are the files of one entry, which are of one kind.
func newSources(where string, paths []string) (out []source, err error) {
	for _, p := range paths {
		s, err := newSource(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		if len(out) > 0 && s.kind != out[0].kind {
			return nil, fmt.Errorf("%s: file types should be identical: %s is %s and %s is %s", where, out[0].path, out[0].kind, s.path, s.kind)
		}
		out = append(out, s)
	}
	return out, nil
}

// open returns the file's text, decompressed, and the length of the byte order mark that was
// dropped at its start. A text file keeps the mark: upstream trains on it.
//
// Reading fails where a row is longer than longestRow; the allowance rows is renewed for every
// row.
func (s source) open() (text *bufio.Reader, skipped int64, rows *allowance, closer io.Closer, err error) {
	f, err := storage.OpenInput(s.path)
	if err != nil {
		return nil, 0, nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, nil, nil, errors.Join(err, f.Close())
	}
	var r io.Reader = f
	closer = f
	switch s.compress {
	case "gz":
		z, err := gzip.NewReader(bufio.NewReaderSize(f, 1<<16))
		if err != nil {
			_ = f.Close()
			return nil, 0, nil, nil, fmt.Errorf("%s: not a gzip file or cut off at its start: %w", s.path, err)
		}
		r = &expansion{r: z, size: info.Size()}
	case "zst":
		z, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			_ = f.Close()
			return nil, 0, nil, nil, fmt.Errorf("%s: not a zstd file: %w", s.path, err)
		}
		r, closer = &expansion{r: z, size: info.Size()}, both{z.IOReadCloser(), f}
	}
	rows = &allowance{r: r}
	rows.renew()
	text = bufio.NewReaderSize(rows, 1<<16)
	if packed := s.packed(text); packed != s.compress {
		_ = closer.Close()
		s.compress = packed
		return s.open()
	}
	head, _ := text.Peek(4) // a shorter file is looked at as a whole
	if err := storage.NotUTF8(s.path, head); err != nil {
		return nil, 0, nil, nil, errors.Join(err, closer.Close())
	}
	if s.kind != "text" && bytes.HasPrefix(head, byteOrderMark) {
		if _, err := text.Discard(len(byteOrderMark)); err != nil {
			return nil, 0, nil, nil, errors.Join(err, closer.Close())
		}
		return text, int64(len(byteOrderMark)), rows, closer, nil
	}
	return text, 0, rows, closer, nil
}

// packed is the compression of a file whose name says plain text, by its first bytes.
func (s source) packed(text *bufio.Reader) string {
	if s.compress != "" {
		return s.compress
	}
	head, _ := text.Peek(4)
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		return "gz"
	case bytes.Equal(head, []byte("\x28\xb5\x2f\xfd")):
		return "zst"
	}
	return ""
}

// both closes a decompressor and then the file below it.
type both struct{ a, b io.Closer }

func (c both) Close() error { return errors.Join(c.a.Close(), c.b.Close()) }

// line returns the 1-based line of a byte offset, 0 if it cannot be determined. It reads the
// file again, so it is only for error messages.
func (s source) line(offset int64) int {
	if s.kind == "parquet" {
		return 0
	}
	text, skipped, rows, closer, err := s.open()
	if err != nil {
		return 0
	}
	defer closer.Close()
	rows.left = math.MaxInt64
	count := &lineCounter{}
	_, _ = io.CopyN(count, text, offset-skipped)
	return count.lines + 1
}

type lineCounter struct{ lines int }

func (c *lineCounter) Write(b []byte) (int, error) {
	c.lines += bytes.Count(b, []byte("\n"))
	return len(b), nil
}

package dataset

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
)

// TestAllowance: a row without an end is an error that names the limit.
func TestAllowance(t *testing.T) {
	a := &allowance{r: strings.NewReader(strings.Repeat("x", 100)), left: 60}
	if n, err := io.Copy(io.Discard, a); n < 60 || err == nil || !strings.Contains(err.Error(), "longer than the limit of 256 MiB") {
		t.Errorf("%d bytes, %v", n, err)
	}
	a.renew()
	if _, err := a.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("renewed: %v", err)
	}
}

// TestExpansion: an archive that expands far more than real data is an error.
func TestExpansion(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := gzip.NewReader(bytes.NewReader(packed.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	e := &expansion{r: r, size: int64(packed.Len()), total: freeExpansion}
	if _, err := io.Copy(io.Discard, e); err == nil || !strings.Contains(err.Error(), "more than 200 times") {
		t.Errorf("a bomb: %v", err)
	}
	e = &expansion{r: strings.NewReader(strings.Repeat("x", 1<<20)), size: 1}
	if n, err := io.Copy(io.Discard, e); n != 1<<20 || err != nil {
		t.Errorf("a small file: %d bytes, %v", n, err)
	}
}

// TestPanicInWorker: a panic in a worker or in the sink is returned as one error.
func TestPanicInWorker(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "rows.jsonl", strings.Repeat(`{"instruction":"a","output":"b"}`+"\n", 3000))
	write(t, dir, InfoFile, `{"rows":{"file_name":"rows.jsonl"}}`)
	c, err := OpenCatalog(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Source("rows")
	if err != nil {
		t.Fatal(err)
	}
	keep := func(samples []data.Sample) ([]data.Sample, error) { return samples, nil }
	for name, run := range map[string]func() error{
		"work": func() error {
			return Each(t.Context(), s, 0, 2, func([]data.Sample) ([]data.Sample, error) { panic("planted") }, func([]data.Sample) error { return nil })
		},
		"sink": func() error { return Each(t.Context(), s, 0, 2, keep, func([]data.Sample) error { panic("planted") }) },
	} {
		var p *task.Panic
		if err := run(); !errors.As(err, &p) || p.Value != "planted" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// write puts a file into a folder.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

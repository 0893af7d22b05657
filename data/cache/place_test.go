package cache

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/storage/memfs"
)

// Without a folder for caches the run continues, and leaves no files behind.
func TestNoPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var log bytes.Buffer
	o := options(t, folderOf(t), func(o *Options) { o.Dir = filepath.Join(file, "below") })
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	d, err := Load(context.Background(), o)
	if err != nil || len(d.Train) == 0 || d.Path != "" {
		t.Fatal(err)
	}
	defer d.Close()
	if !strings.Contains(log.String(), "set DATAFLEX_CACHE") {
		t.Error(log.String())
	}
	left, err := filepath.Glob(filepath.Join(temp, ".tmp-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	train, _, _ := inMemory(t, o)
	same(t, "train", d.Train, train)
}

// At every sixth change at which the cache's disk may become full, the data lie elsewhere for the run, and nothing
// unfinished is left.
func TestFullPlace(t *testing.T) {
	const root = "/dataflex-full-cache"
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	o := options(t, folderOf(t), func(o *Options) { o.Dir = root })
	train, _, _ := inMemory(t, o)
	for n := 1; ; n += 6 {
		disk := memfs.New(root)
		disk.Plan(memfs.Fault{Kind: memfs.Full, N: n})
		unmount := storage.Mount(root, disk)
		var log bytes.Buffer
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		d, err := Load(context.Background(), o)
		if err != nil {
			t.Fatalf("full from change %d on: %v", n, err)
		}
		same(t, "train", d.Train, train)
		for _, dir := range []string{temp, root + "/tokenized"} {
			entries, _ := storage.ReadDir(dir) // there may be none
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), ".tmp-") {
					t.Errorf("full from change %d on: %s is left in %s", n, e.Name(), dir)
				}
			}
		}
		unmount()
		stored := d.Path != ""
		d.Close()
		if !stored && !strings.Contains(log.String(), "set DATAFLEX_CACHE") {
			t.Errorf("full from change %d on:\n%s", n, log.String())
		}
		if disk.Changes() < n {
			if !stored {
				t.Error("the data are not stored though the disk is not full")
			}
			return
		}
	}
}

func TestDefaultDir(t *testing.T) {
	for _, c := range [][3]string{{"DATAFLEX_CACHE", "/x", "/x"}, {"HF_DATASETS_CACHE", "/y", "/y/dataflex"}, {"HF_HOME", "/z", "/z/dataflex"}, {"XDG_CACHE_HOME", "/c", "/c/dataflex"}} {
		t.Run(c[0], func(t *testing.T) {
			for _, name := range []string{"DATAFLEX_CACHE", "HF_DATASETS_CACHE", "HF_HOME"} {
				t.Setenv(name, "")
			}
			t.Setenv(c[0], c[1])
			if got, err := DefaultDir(); err != nil || got != c[2] {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
}

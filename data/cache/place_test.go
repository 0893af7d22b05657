package cache

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
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

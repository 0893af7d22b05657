package train_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parquet-go/parquet-go"

	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data/storage"
)

// faultyReads is a disk whose reads of Parquet files panic from the nth on, as a bug in the
// library that reads them would.
type faultyReads struct {
	storage.FS
	left atomic.Int32
}

type faultyFile struct {
	storage.File
	fs *faultyReads
}

func (f *faultyReads) OpenFile(name string, flag int, perm os.FileMode) (storage.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err == nil && filepath.Ext(name) == ".parquet" {
		file = &faultyFile{file, f}
	}
	return file, err
}

func (f *faultyFile) ReadAt(b []byte, at int64) (int, error) {
	if f.fs.left.Add(-1) < 0 {
		panic("planted")
	}
	return f.File.ReadAt(b, at)
}

// TestPanicInParquet: a panic while a Parquet file is read, wherever in it, is one error
// that names the file; the checkpoints of the run stay unchanged, and it resumes from them
// to the weights of a run without the panic.
func TestPanicInParquet(t *testing.T) {
	t.Parallel()
	type row struct {
		Instruction string `parquet:"instruction"`
		Output      string `parquet:"output"`
	}
	f := newFixture(t)
	var rows []row
	for i := range 40 {
		rows = append(rows, row{fmt.Sprintf("Add %d and 3", i), fmt.Sprint(i + 3)})
	}
	if err := parquet.WriteFile(filepath.Join(f.dir, "pool.parquet"), rows, parquet.MaxRowsPerRowGroup(16)); err != nil {
		t.Fatal(err)
	}
	f.json("dataset_info.json", map[string]any{"pool": map[string]string{"file_name": "pool.parquet"}, "eval": map[string]string{"file_name": "eval.json"}})
	args := []string{"max_steps=4", "overwrite_cache=true"}
	f.must(append(args, "output_dir="+f.dir+"/whole")...)
	want := adapter(t, filepath.Join(f.dir, "whole"))
	quiet := slog.New(slog.DiscardHandler)
	if err := f.runWith(train.Options{Out: os.Stderr, Log: quiet, Progress: panicAt(2)}, args...); err == nil {
		t.Fatal("the run was not ended")
	}
	tries := 0
	for n := 0; ; n++ {
		disk := &faultyReads{FS: storage.OS}
		disk.left.Store(int32(n))
		unmount := storage.Mount(f.dir, disk)
		err := f.runWith(train.Options{Out: os.Stderr, Log: quiet}, args...)
		unmount()
		if err == nil {
			break // every read has been done
		}
		tries++
		if text := err.Error(); !strings.Contains(text, "pool.parquet") || !strings.Contains(text, "planted") || strings.Contains(text, "goroutine") {
			t.Fatalf("read %d: %v", n, err)
		}
		if got := checkpoints(t, filepath.Join(f.dir, "out")); len(got) != 1 || got[0] != 2 {
			t.Fatalf("read %d: checkpoints of steps %v", n, got)
		}
	}
	if tries < 3 {
		t.Errorf("panicked in %d places only", tries)
	}
	if !bytes.Equal(adapter(t, filepath.Join(f.dir, "out")), want) {
		t.Error("the run that went on ends in other weights")
	}
}

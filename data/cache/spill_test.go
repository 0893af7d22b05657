package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// shortRows writes n rows of a few tokens in alpaca's format, and options that read them.
func shortRows(t *testing.T, n int, edit func(*Options)) Options {
	t.Helper()
	dir := t.TempDir()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"instruction":"%d","input":"","output":"a%d","subtask":"s%d"}`+"\n", i, i%7, i%3)
	}
	if err := os.WriteFile(filepath.Join(dir, "short.jsonl"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	return options(t, dir, func(o *Options) {
		o.Train, o.Info = []string{"short"}, []byte(`{"short":{"file_name":"short.jsonl"}}`)
		edit(o)
	})
}

// TestHeapPerRow: a row of tokenised data takes 4 bytes of heap, the number of its labels;
// everything else of it is mapped. An Example alone has 168 bytes.
func TestHeapPerRow(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("nothing is mapped there")
	}
	const rows = 20000
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what sync.Pool holds goes with the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	o := shortRows(t, rows, func(o *Options) { o.spill = spillChunk })
	for i, found := range []bool{false, false, true} {
		before := heap()
		o.Overwrite = i == 1
		d, err := Load(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		// The first time grows the tokenizer's memory of words, and buffers that are kept.
		if grown := heap() - before; d.Found != found || len(d.Train) != rows || i > 0 && grown > 16*rows {
			t.Errorf("found %v: %d rows take %d bytes of heap", d.Found, len(d.Train), grown)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSpilledIsTheSame: examples whose index is in a file are those in the heap, packed or
// not, held out or not, and survive garbage collections.
func TestSpilledIsTheSame(t *testing.T) {
	for _, packing := range []bool{false, true} {
		o := shortRows(t, 2*spillChunk+100, func(o *Options) { o.ValSize, o.Process.Packing, o.Process.CutoffLen = 0.5, &packing, 64 })
		var all [2]*Data
		for i, spill := range []int{1 << 30, 1} {
			o.spill = spill
			d, err := Load(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			all[i] = d
			runtime.GC()
		}
		heap, file := all[0], all[1]
		if !slices.Equal(heap.Labels, file.Labels) || !reflect.DeepEqual(heap.Train, file.Train) || !reflect.DeepEqual(heap.Eval, file.Eval) || len(file.Train) < 500 {
			t.Errorf("packing %v: %d and %d rows differ", packing, len(heap.Train), len(file.Train))
		}
	}
}

// failing is a file whose disk is full after some writes.
type failing struct {
	storage.File
	writes int
}

func (f *failing) Write(p []byte) (int, error) {
	if f.writes--; f.writes < 0 {
		n, _ := f.File.Write(p[:len(p)/3])
		return n, errors.New("no space")
	}
	return f.File.Write(p)
}

// TestSpillWithoutRoom: values that no file takes stay in the heap, all of them.
func TestSpillWithoutRoom(t *testing.T) {
	for room := range 4 {
		s := newSpill[int64](1, t.TempDir())
		const n = 3*spillChunk + 5
		for i := range int64(n) {
			if i == spillChunk-1 {
				s.file = &failing{unnamed(s.dirs), room}
			}
			if err := s.add(i); err != nil {
				t.Fatal(err)
			}
		}
		values, unmap, err := s.all()
		if err != nil || len(values) != n || !s.inHeap {
			t.Fatalf("room for %d: %d values, %v", room, len(values), err)
		}
		for i, v := range values {
			if v != int64(i) {
				t.Fatalf("room for %d: %d at %d", room, v, i)
			}
		}
		if err := unmap(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestName: the name by content is computed once for a folder, and again where it or the
// manifest is another.
func TestName(t *testing.T) {
	o := shortRows(t, 10, func(*Options) {})
	computed := 0
	hash := func() string { computed++; return "the name" }
	for i, want := range []int{1, 1, 2, 3} {
		d, err := Load(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		if name := d.Name(hash); name != "the name" || computed != want {
			t.Errorf("%d: %q, computed %d times, not %d", i, name, computed, want)
		}
		switch path := filepath.Join(d.Path, nameFile); i {
		case 1: // damaged
			err = os.WriteFile(path, []byte("other name\n"+nameSum("another", nil)), 0o644)
		case 2: // of another content
			err = os.WriteFile(path, []byte("x\n"+nameSum("x", []byte("manifest"))), 0o644)
		}
		if err = errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

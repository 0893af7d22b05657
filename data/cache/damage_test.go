package cache

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
)

func TestOverwriteAndDamage(t *testing.T) {
	o := options(t, folderOf(t), nil)
	load := func() *Data {
		t.Helper()
		d, err := Load(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	first := load()
	o.Overwrite = true
	again := load()
	if again.Found {
		t.Error("overwrite_cache did not tokenise again")
	}
	same(t, "overwritten", again.Train, first.Train) // the mapping outlives its folder
	o.Overwrite = false
	// Any truncation or change is noticed, and the cache is built again.
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	damage := func(name string, change func([]byte) []byte) {
		t.Helper()
		path := filepath.Join(again.Path, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(text), 0o644); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		d := load()
		if d.Found || !strings.Contains(log.String(), "the cache is not usable and is built again") {
			t.Errorf("%s damaged: found %v, log %s", name, d.Found, log.String())
		}
		same(t, name, d.Train, first.Train)
	}
	for _, name := range []string{storage.ManifestFile, indexFile, tokensFile} {
		damage(name, func(b []byte) []byte { return b[:len(b)-9] })
		damage(name, func(b []byte) []byte { b[100] ^= 1; return b })
	}
	damage(storage.ManifestFile, func(b []byte) []byte { return bytes.Replace(b, []byte(`"a"`), []byte(`"b"`), 1) })
}

// A flipped bit is found anywhere, also in a file of several blocks.
func TestVerify(t *testing.T) {
	b := make([]byte, 2*checksumBlock+5)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	var c checksum
	for _, part := range [][]byte{b[:7], b[7 : checksumBlock+1], b[checksumBlock+1 : 2*checksumBlock], b[2*checksumBlock:]} {
		c.add(part)
	}
	if err := verify("x", b, c.blocks()); err != nil || len(c.blocks()) != 3 {
		t.Fatal(err, len(c.blocks()))
	}
	for _, at := range []int{0, checksumBlock, len(b) - 1} {
		b[at] ^= 4
		if err := verify("x", b, c.blocks()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("block %d", at/checksumBlock)) {
			t.Errorf("a flip at %d: %v", at, err)
		}
		b[at] ^= 4
	}
	if err := verify("x", b[:checksumBlock], c.blocks()); err == nil {
		t.Error("a shorter file passed")
	}
}

// Of two runs that want the same data only one builds it.
func TestTwoRuns(t *testing.T) {
	o := options(t, folderOf(t), nil)
	var data [2]*Data
	var g task.Group
	for i := range data {
		g.Go(func() {
			var err error
			if data[i], err = Load(context.Background(), o); err != nil {
				t.Error(err)
			}
		})
	}
	g.Wait()
	for _, d := range data {
		if d == nil {
			t.FailNow()
		}
		defer d.Close()
	}
	if data[0].Found == data[1].Found {
		t.Errorf("found: %v and %v, want one of them", data[0].Found, data[1].Found)
	}
	same(t, "both", data[0].Train, data[1].Train)
	entries, err := os.ReadDir(filepath.Join(o.Dir, "tokenized"))
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v (%v)", entries, err)
	}
}

// faster is a run that builds the same data after this one has looked for it and before this
// one takes the lock.
type faster struct {
	storage.FS
	run func()
}

func (f *faster) OpenFile(name string, flag int, perm fs.FileMode) (storage.File, error) {
	if run := f.run; run != nil && strings.HasSuffix(name, ".lock") {
		f.run = nil
		run()
	}
	return f.FS.OpenFile(name, flag, perm)
}

// Data that another run built between the look-up and the lock is used, not built again.
func TestMadeBeforeTheLock(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"cache":          nil,
		"tokenized_path": func(o *Options) { o.Path = filepath.Join(o.Dir, "kept") },
	} {
		o := options(t, folderOf(t), change)
		var other *Data
		t.Cleanup(storage.Mount(o.Dir, &faster{FS: storage.OS, run: func() {
			var err error
			if other, err = Load(context.Background(), o); err != nil {
				t.Error(err)
			}
		}}))
		d, err := Load(context.Background(), o)
		if err != nil || other == nil {
			t.Fatal(name, err)
		}
		defer d.Close()
		defer other.Close()
		if other.Found || !d.Found {
			t.Errorf("%s: found: the other run %v, this one %v", name, other.Found, d.Found)
		}
		same(t, name, d.Train, other.Train)
	}
}

// readOnly is a folder of another user.
type readOnly struct{ storage.FS }

func (f readOnly) OpenFile(name string, flag int, perm fs.FileMode) (storage.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE) != 0 {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return f.FS.OpenFile(name, flag, perm)
}

func (f readOnly) Mkdir(name string, _ fs.FileMode) error {
	return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EACCES}
}

// unpublished is a folder of another user in which everybody may create files but not replace
// those of others.
type unpublished struct{ storage.FS }

func (f unpublished) Rename(a, b string) error {
	if filepath.Base(filepath.Dir(b)) != "tokenized" {
		return f.FS.Rename(a, b)
	}
	return &os.LinkError{Op: "rename", Old: a, New: b, Err: syscall.EPERM}
}

func (f unpublished) Exchange(a, b string) error { return f.Rename(a, b) }

// A read-only cache is read if it is complete, and otherwise does not stop the run.
func TestUnwritable(t *testing.T) {
	for name, lock := range map[string]func(storage.FS) storage.FS{
		"nothing": func(f storage.FS) storage.FS { return readOnly{f} },
		"no name": func(f storage.FS) storage.FS { return unpublished{f} },
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			o := options(t, folderOf(t), nil)
			made, err := Load(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer made.Close()
			var log bytes.Buffer
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
			t.Cleanup(storage.Mount(o.Dir, lock(storage.OS)))
			found, err := Load(context.Background(), o)
			if err != nil || !found.Found {
				t.Fatalf("found %v, %v", found != nil, err)
			}
			defer found.Close()
			o.Seed++
			o.ValSize = 3
			other, err := Load(context.Background(), o)
			if err != nil || other.Found || other.Path != "" || len(other.Train) == 0 {
				t.Fatalf("made %v, %v", other != nil, err)
			}
			defer other.Close()
			if n := strings.Count(log.String(), "set DATAFLEX_CACHE"); n != 1 {
				t.Errorf("said %d times: %s", n, log.String())
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
}

// A folder written in version 2 of the format is read.
func TestFormat2(t *testing.T) {
	o := options(t, folderOf(t), func(o *Options) { o.Path = filepath.Join(t.TempDir(), "kept") })
	made, err := Load(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	path := filepath.Join(o.Path, storage.ManifestFile)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte(`"version": 4`), []byte(`"version": 2`), 1)
	for _, key := range []string{"tokens_crc32c", "members_crc32c", "crc32c"} {
		text = regexp.MustCompile(`(?s),\s*"`+key+`": (\[[^]]*\]|null|\d+)`).ReplaceAll(text, nil)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	read, err := Load(context.Background(), o)
	if err != nil || !read.Found {
		t.Fatal(err)
	}
	defer read.Close()
	same(t, "version 2", read.Train, made.Train)
}

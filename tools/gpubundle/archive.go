package main

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// archiveLimit is the bytes of a part's archive, and logLimit those of a file in it: what a
// machine hands back is limited.
const (
	archiveLimit = 16 << 20
	logLimit     = 1 << 20
)

// archive packs a folder's files, the first megabyte of each, leaving out what would make it
// too large.
func archive(dir, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	t := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Size() > archiveLimit-2*logLimit { // what is still in buffers is less than a file
			fmt.Printf("%s is left out of %s\n", name, path)
			return nil
		}
		return pack(t, dir, name)
	})
	return errors.Join(err, t.Close(), z.Close(), f.Close())
}

// pack adds one file.
func pack(t *tar.Writer, dir, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, logLimit))
	if err != nil {
		return err
	}
	within, err := filepath.Rel(dir, name)
	if err != nil {
		return err
	}
	if err := t.WriteHeader(&tar.Header{Name: filepath.ToSlash(within), Mode: 0o644, Size: int64(len(b))}); err != nil {
		return err
	}
	_, err = t.Write(b)
	return err
}

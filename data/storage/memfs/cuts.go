package memfs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
)

// Cut is a disk that a power cut leaves.
type Cut struct {
	Before int  // the change before which the power was lost, counted from 1
	Names  bool // names were durable without a sync of their folder, as a journal may have it
	Disk   *FS  // to be used once
}

// cuts are the distinct ones, in the order in which they became possible.
type cuts struct {
	seen map[string]bool
	all  []Cut
}

// RecordCuts keeps, from now on, every distinct disk that a power cut can leave, so that a
// run need not be repeated up to each of them.
func (f *FS) RecordCuts() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts = &cuts{seen: map[string]bool{}}
}

// Cuts are those recorded.
func (f *FS) Cuts() []Cut {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cuts.all
}

// record keeps what a power cut leaves at this moment. The caller holds f.mu.
func (c *cuts) record(f *FS) {
	for _, cut := range []Cut{{Names: false}, {Names: true}} {
		left := durableNames
		if cut.Names {
			left = allNames
		}
		h := sha256.New()
		f.top.hash(h, "", left, func(_ string, n *node) []byte { return n.synced })
		if sum := string(h.Sum(nil)); !c.seen[sum] {
			c.seen[sum] = true
			cut.Before, cut.Disk = f.changes+1, &FS{root: f.root, top: f.top.afterPowerCut(left)}
			c.all = append(c.all, cut)
		}
	}
}

// Sum is a hash of all names and contents, as show returns them.
func (f *FS) Sum(show func(path string, data []byte) []byte) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := sha256.New()
	f.top.hash(h, "", allNames, func(path string, n *node) []byte { return show(path, n.data) })
	return hex.EncodeToString(h.Sum(nil))
}

// hash adds a folder's entries, or a file's content.
func (n *node) hash(h hash.Hash, path string, left names, content func(string, *node) []byte) {
	if !n.isDir {
		b := content(path, n)
		fmt.Fprintf(h, "file %q %d\n", path, len(b))
		h.Write(b)
		return
	}
	fmt.Fprintf(h, "folder %q\n", path)
	entries := left(n)
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		entries[name].hash(h, path+"/"+name, left, content)
	}
}

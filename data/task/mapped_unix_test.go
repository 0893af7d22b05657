//go:build unix

package task

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestShortenedFile: reading a mapped file that another program has made shorter is
// an error, not the end of the process.
func TestShortenedFile(t *testing.T) {
	page := os.Getpagesize()
	path := filepath.Join(t.TempDir(), "mapped")
	if err := os.WriteFile(path, make([]byte, 4*page), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := syscall.Mmap(int(f.Fd()), 0, 4*page, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(m)
	if err := os.Truncate(path, int64(page)); err != nil {
		t.Fatal(err)
	}
	copied := make([]byte, len(m))
	for name, read := range map[string]func(){
		"a byte":  func() { copied[0] = m[3*page] },
		"a block": func() { copy(copied, m) }, // in assembly
	} {
		var g Group
		g.Go(read)
		err := Catch(func() error { g.Wait(); return nil })
		if err == nil || !strings.Contains(err.Error(), "made shorter") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

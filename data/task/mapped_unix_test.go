//go:build unix

package task

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/simd"
)

// TestShortenedFile: reading a mapped file that another program has truncated is an error, not
// the end of the process.
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
	floats := unsafe.Slice((*float32)(unsafe.Pointer(&m[0])), len(m)/4)
	rows, d := len(floats)/64, 64
	matrix := gemm.Dense(driver.FromHost(floats), rows, d)
	dev := cpu.New(2)
	defer dev.Close()
	for name, read := range map[string]func(){
		"a byte":                func() { copied[0] = m[3*page] },
		"a block":               func() { copy(copied, m) }, // in assembly, as all below
		"a maximum":             func() { simd.Max(floats) },
		"a sum of exponentials": func() { simd.ExpSum(make([]float32, len(floats)), floats, 0) },
		"addition":              func() { simd.Add(make([]float32, len(floats)), floats, floats) },
		"bf16": func() {
			cast.WidenHost(unsafe.Slice((*driver.BF16)(unsafe.Pointer(&m[0])), len(m)/2), make([]float32, len(m)/2))
		},
		"a product": func() {
			gemm.Run(dev, gemm.NT, 1, matrix, matrix, 0, gemm.Dense(driver.FromHost(make([]float32, rows*rows)), rows, rows))
		},
	} {
		var g Group
		g.Go(read)
		err := Catch(func() error { g.Wait(); return nil })
		if err == nil || !strings.Contains(err.Error(), "truncated") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

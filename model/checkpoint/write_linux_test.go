package checkpoint

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dataflex.dev/dataflex/data/storage"
)

// The bytes are those of safetensors 0.8.0 and torch 2.7.1, except for the NaN, for which
// torch's vector code writes 0xffff and its scalar code 0x7fc0: safetensors.torch.save({"b":
// bf16 [1, 1.005859375, nan], "a": f32 [[1], [2]], "é\"<": f32 scalar 3}, {"format": "pt"}).
func TestWriterBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	nan := float32(math.NaN())
	ok(t, WriteSafetensors(path, map[string]string{"format": "pt"}, []Tensor{
		{Name: "b", Shape: []int{3}, F32: []float32{1, 1.005859375, nan}, DType: "BF16"},
		{Name: "é\"<", Shape: []int{}, F32: []float32{3}},
		{Name: "a", Shape: []int{2, 1}, F32: []float32{1, 2}},
	}))
	got, err := os.ReadFile(path)
	ok(t, err)
	header := `{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},` +
		`"é\"<":{"dtype":"F32","shape":[],"data_offsets":[8,12]},"b":{"dtype":"BF16","shape":[3],"data_offsets":[12,18]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := file(header, []byte("\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40\x80\x3f\x81\x3f\xc0\x7f"))
	if string(got) != string(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	info, err := os.Stat(path)
	ok(t, err)
	if info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, want %v", info.Mode(), 0o644)
	}
}

// Ties go to even: 1 + 2^-8 is halfway between 1 and 1 + 2^-7.
func TestBFloat16Rounding(t *testing.T) {
	for _, c := range []struct {
		in  float32
		out uint16
	}{{1 + 0x1p-8, 0x3f80}, {1 + 0x1.8p-7, 0x3f82}, {1 + 0x1.01p-8, 0x3f81}, {math.MaxFloat32, 0x7f80}, {-0x1p-149, 0x8000}, {float32(math.Inf(-1)), 0xff80}} {
		b := appendBFloat16(nil, c.in)
		if got := uint16(b[0]) | uint16(b[1])<<8; got != c.out {
			t.Errorf("%x -> %#x, want %#x", c.in, got, c.out)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		tensors []Tensor
		want    string
	}{
		{[]Tensor{{Name: "a", Shape: []int{2}, F32: []float32{1}}}, `"a" has shape [2] but 1 elements`},
		{[]Tensor{{Name: "a", Shape: []int{1}, F32: []float32{1}}, {Name: "a", Shape: []int{1}, F32: []float32{1}, DType: "BF16"}}, `"a" is reserved or used twice`},
		{[]Tensor{{Name: "__metadata__", Shape: []int{1}, F32: []float32{1}}}, "is reserved"},
		{[]Tensor{{Name: "a", Shape: []int{1}, F32: []float32{1}, DType: "F8_E4M3"}}, "is not written"},
	} {
		err := WriteSafetensors(filepath.Join(dir, "x"), nil, c.tensors)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func onlyOld(t *testing.T, dir, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	entries, err := os.ReadDir(dir)
	ok(t, err)
	if string(b) != "old" || len(entries) != 1 {
		t.Errorf("%q and %d entries left", b, len(entries))
	}
}

// A disk that is really full.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no small file system to fill: %v", err)
	}
	defer syscall.Unmount(dir, 0)
	path := filepath.Join(dir, "model.safetensors")
	write(t, path, []byte("old"))
	err := WriteSafetensors(path, nil, []Tensor{{Name: "x", Shape: []int{1 << 16}, F32: make([]float32, 1<<16)}})
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "the disk is full after") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	onlyOld(t, dir, path)

	d, err := storage.Begin(dir, "checkpoint-1")
	ok(t, err)
	write(t, filepath.Join(d.Path(), "fits"), []byte("x"))
	if err := storage.WriteFile(filepath.Join(d.Path(), "large"), make([]byte, 1<<17)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
	ok(t, d.Abort())
	onlyOld(t, dir, path)
}

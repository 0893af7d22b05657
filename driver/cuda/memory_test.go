//go:build cuda && cgo && linux

package cuda

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
)

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7) ^ byte(i>>12) ^ byte(i>>20) ^ seed // no two chunks are equal
	}
	return b
}

func TestMemoryIsZeroedAndCopied(t *testing.T) {
	d := open(t)
	for _, n := range []int{0, 1, 511, 512, 513, stagingSize, 3*stagingSize + 5} {
		m := must(d.Alloc(n))(t)
		if m.Size() != n || m.Addr() == 0 || m.Addr()%64 != 0 {
			t.Fatalf("Alloc(%d): %d bytes at %#x", n, m.Size(), m.Addr())
		}
		out := pattern(n, 1)
		if err := d.CopyOut(out, m); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, make([]byte, n)) {
			t.Fatalf("Alloc(%d) is not zeroed", n)
		}
		in := pattern(n, 2)
		want := slices.Clone(in)
		if err := d.CopyIn(m, in); err != nil {
			t.Fatal(err)
		}
		clear(in) // the caller may reuse it at once
		if err := d.CopyOut(out, m); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out, want) {
			t.Fatalf("%d bytes come back changed", n)
		}
	}
}

// A copy on the device waits for the work before it, and the work after waits for the copy.
func TestMemoryIsCopiedOnTheDevice(t *testing.T) {
	d := open(t)
	a, b := must(d.Alloc(3000))(t), must(d.Alloc(4000))(t)
	if err := d.CopyIn(a, pattern(3000, 5)); err != nil {
		t.Fatal(err)
	}
	if err := d.Copy(b, a); err != nil {
		t.Fatal(err)
	}
	if err := d.CopyIn(a, make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 4000)
	if err := d.CopyOut(out, b); err != nil {
		t.Fatal(err)
	}
	if want := append(pattern(3000, 5), make([]byte, 1000)...); !bytes.Equal(out, want) {
		t.Error("the copy came back changed")
	}
	wantError(t, d.Copy(a, b), "cuda: copy of 4000 bytes into 3000")
}

// Freed memory is reused without calling the driver, and zeroed again in queue order.
func TestFreedMemoryIsReused(t *testing.T) {
	d := open(t)
	m := must(d.Alloc(5000))(t)
	if err := d.CopyIn(m, pattern(5000, 3)); err != nil {
		t.Fatal(err)
	}
	if d.Used() != 5120 {
		t.Errorf("Used() = %d, want 5120", d.Used())
	}
	d.Free(m)
	var again driver.Memory
	lines := calls(t, func() { again = must(d.Alloc(5000))(t) })
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "memset 5120 ") {
		t.Errorf("a second Alloc calls %q", lines)
	}
	if again.Addr() != m.Addr() {
		t.Errorf("%#x again, want %#x", again.Addr(), m.Addr())
	}
	out := pattern(5000, 4)
	if err := d.CopyOut(out, again); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, make([]byte, 5000)) {
		t.Error("reused memory is not zeroed")
	}
	if d.HighWater() != 5120 {
		t.Errorf("HighWater() = %d, want 5120", d.HighWater())
	}
}

func TestOutOfMemory(t *testing.T) {
	os.Setenv("FAKECUDA_MEMORY", "100000000")
	defer os.Unsetenv("FAKECUDA_MEMORY")
	d := open(t)
	small := must(d.Alloc(1000))(t)
	_, err := d.Alloc(90 << 20)
	wantError(t, err, "cuda: 90.00 MiB requested, 1024 bytes in use, 32.00 MiB held, 63.37 MiB of 95.37 MiB free on the device", "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory")
	if !errors.Is(err, OutOfMemory) {
		t.Error("errors.Is(err, OutOfMemory) is false")
	}
	// The segment is empty now: it is released, and there is room.
	d.Free(small)
	var big driver.Memory
	lines := calls(t, func() { big = must(d.Alloc(90 << 20))(t) })
	want := []string{"alloc 94371840", "free 33554432", "alloc 94371840"}
	if got := only(lines, "alloc", "free"); !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	d.Free(big)
	_, err = d.Alloc(-1)
	wantError(t, err, "allocation of -1 bytes")
}

func TestCopiesStayInside(t *testing.T) {
	d := open(t)
	m := must(d.Alloc(10))(t)
	wantError(t, d.CopyIn(m, make([]byte, 11)), "copy of 11 bytes into 10")
	wantError(t, d.CopyOut(make([]byte, 11), m), "copy of 11 bytes out of 10")
	h := must(d.NewHostBuffer(11))(t)
	defer h.Close()
	wantError(t, d.CopyInAsync(m, h, nil), "copy of 11 bytes into 10")
	wantError(t, d.CopyOutAsync(h, m, nil), "copy of 11 bytes out of 10")
	defer func() {
		if recover() == nil {
			t.Error("Free of unknown memory does not panic")
		}
	}()
	d.Free(driver.DeviceMemory(m.Addr()+512, 10))
}

func TestPinnedCopiesAreAsynchronous(t *testing.T) {
	d := open(t)
	m := must(d.Alloc(4096))(t)
	in, out := must(d.NewHostBuffer(4096))(t), must(d.NewHostBuffer(8192))(t)
	copy(in.Bytes(), pattern(4096, 5))
	if err := errorsOf(d.CopyInAsync(m, in, nil), d.CopyOutAsync(out.Sub(4096, 8192), m, nil)); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(out.Bytes()[4096:], in.Bytes()) {
		t.Error("the copy did not wait for a synchronisation")
	}
	if err := d.Synchronize(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes()[4096:], pattern(4096, 5)) {
		t.Error("the bytes did not come back")
	}
	if err := errorsOf(out.Sub(0, 1).Close(), out.Close(), out.Close(), in.Close()); err != nil {
		t.Error(err)
	}
	_, err := d.NewHostBuffer(0)
	wantError(t, err, "host buffer of 0 bytes")
}

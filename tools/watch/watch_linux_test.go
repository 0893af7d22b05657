package watch

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestNested: a program that is ended takes along the program that it watches.
func TestNested(t *testing.T) {
	if path := os.Getenv("WATCH_TEST_FIFO"); path != "" {
		l := Limits{First: time.Minute, Silence: time.Minute}
		_, _, err := Run(exec.Command("sh", "-c", `exec >"$0"; echo a >&2; exec sleep 600`, path), l, os.Stdout)
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	c := exec.Command(os.Args[0], "-test.run", "^TestNested$")
	c.Env = append(os.Environ(), "WATCH_TEST_FIFO="+path)
	if _, why, err := Run(c, Limits{First: time.Minute, Silence: 50 * time.Millisecond}, io.Discard); why == "" {
		t.Fatal(err)
	}
	if err := held.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(held); err != nil { // until nobody holds the other end
		t.Error(err)
	}
}

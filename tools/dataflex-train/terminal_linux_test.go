package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal opens a pseudo-terminal: what is written to user's end comes out of ours.
func terminal(t *testing.T) (ours, users *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skip(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skip(err)
	}
	if users, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skip(err)
	}
	return ours, users
}

// TestTerminal: on a terminal the progress is shown, and no log line is lost, including the
// last ones. With NO_COLOR nothing is coloured.
func TestTerminal(t *testing.T) {
	for round := range 4 {
		r := start(t, "exit 0;", 4) // for its files
		_, _ = r.end()
		ours, users := terminal(t)
		cmd := exec.Command(os.Args[0], "-config", r.dir+"/run.yaml")
		cmd.Env = append(os.Environ(), asProgram+"=1", "DATAFLEX_CACHE="+r.dir+"/cache", "TERM=xterm")
		if round%2 == 1 {
			cmd.Env = append(cmd.Env, "NO_COLOR=1")
		}
		cmd.Stderr = users
		text := make(chan string)
		go func() {
			raw, _ := io.ReadAll(ours) // EIO when the other end is closed
			text <- string(raw)
		}()
		err := cmd.Run()
		users.Close()
		got := <-text
		if err != nil {
			t.Fatalf("%v\n%s", err, got)
		}
		for _, want := range []string{"step 4/4  100 %", "checkpoint saved", "report written", "finished", "time"} {
			if !strings.Contains(got, want) {
				t.Errorf("round %d: the terminal does not show %q:\n%s", round, want, got)
			}
		}
		if coloured := strings.Contains(got, "\x1b[3") || strings.Contains(got, "\x1b[9"); coloured == (round%2 == 1) {
			t.Errorf("round %d: coloured: %v", round, coloured)
		}
		if last := strings.TrimRight(got[strings.LastIndex(got, "\n")+1:], "\r"); strings.Trim(last, "\x1b[K\r") != "" {
			t.Errorf("the terminal is left with %q", last)
		}
	}
}

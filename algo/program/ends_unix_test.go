//go:build unix

package program

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/task"
)

// leader reads the process group that a script wrote with `echo $$ >$0`.
func leader(t *testing.T, file string) int {
	t.Helper()
	raw, err := os.ReadFile(file)
	pid, err2 := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err := errors.Join(err, err2); err != nil {
		t.Error(err)
	}
	return pid
}

// gone reports whether a process group has ended, except for zombies that init has not reaped
// yet.
func gone(group int) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if errors.Is(syscall.Kill(-group, 0), syscall.ESRCH) || buried(group) {
			return true
		}
	}
	return false
}

// buried reports whether Linux has only dead processes of a group.
func buried(group int) bool {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		_, rest, _ := strings.Cut(string(raw), ") ") // after the name: state, parent, group
		f := strings.Fields(rest)
		if len(f) > 2 && f[2] == strconv.Itoa(group) && f[0] != "Z" {
			return false
		}
	}
	return len(stats) > 0
}

// misdeeds are misuses of the pipes by programs, with the resulting errors.
var misdeeds = []struct{ script, asked, once string }{
	{"exec >&-; exec sleep 1000", "it closed its standard output without an answer and is still running", "no answer within 1s"},
	{"sleep 1000 >/dev/null & exit 0", "it ended without an answer", ""},
	{"sleep 1000 & exit 0", "a program that it started keeps its output open", ""},
	{"sleep 1000 2>/dev/null & exit 3", "exit status 3; a program that it started keeps its output open", "exit status 3"},
	{"exec 2>&- <&-; sleep 1000 & wait", "no answer within 1s", "no answer within 1s"},
	{`trap "" TERM INT HUP; sleep 1000; sleep 1000`, "no answer within 1s", "no answer within 1s"},
	{"yes >&2", "no answer within 1s", "no answer within 1s"},
	{"cat /dev/zero >&2", "no answer within 1s", "no answer within 1s"},
	{"exec cat /dev/zero", "the line is too long", "it wrote more than 1000 bytes"},
	{"yes", "not the JSON line expected", "it wrote more than 1000 bytes"},
}

// TestEndsInTime: whatever a program does with its pipes, a request ends at the timeout or,
// where no answer can come any more, before it, and no process that it started survives.
func TestEndsInTime(t *testing.T) {
	// What ends before its timeout gets one so long that waiting for it would be noticed.
	timeout := func(want string) time.Duration {
		if strings.Contains(want, "within 1s") {
			return time.Second
		}
		return 30 * time.Second
	}
	check := func(script string, err error, want, pid string, began time.Time) {
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, wanted %q", script, err, want)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("%s: it took %s", script, took)
		}
		if !gone(leader(t, pid)) {
			t.Errorf("%s: something of it is still running", script)
		}
	}
	var all task.Group
	for _, m := range misdeeds {
		all.Go(func() {
			pid, began := filepath.Join(t.TempDir(), "pid"), time.Now()
			command := []string{"sh", "-c", "echo $$ >$0; " + m.script, pid}
			p := New(command, timeout(m.asked), slog.New(slog.DiscardHandler))
			check(m.script, p.Ask(context.Background(), question{1}, &reply{}), m.asked, pid, began)
			began = time.Now()
			_, err := Once(context.Background(), command, []byte("{}\n"), timeout(m.once), 1000, nil)
			check(m.script, err, m.once, pid, began)
		})
	}
	all.Wait()
}

// TestContextEnds: Ctrl-C does not wait for a program that hangs.
func TestContextEnds(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(context.Background())
	p := New([]string{"sh", "-c", `echo started >&2; echo $$ >$0; echo >&2; sleep 1000`, pid}, time.Hour, slog.New(slog.NewTextHandler(cancelOn{cancel}, nil)))
	if err := p.Ask(ctx, question{1}, &reply{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	_, err := Once(ctx, p.command, nil, time.Hour, 1000, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if !gone(leader(t, pid)) {
		t.Error("it is still running")
	}
}

// cancelOn ends a context with the second line that is logged.
type cancelOn struct{ cancel func() }

func (c cancelOn) Write(b []byte) (int, error) {
	if strings.Contains(string(b), `msg=""`) {
		c.cancel()
	}
	return len(b), nil
}

// TestEndAll: programs that were not closed end with the whole program.
func TestEndAll(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	p := New([]string{"sh", "-c", `echo $$ >$0; read -r l; echo '{}'; sleep 1000`, pid}, 10*time.Second, slog.New(slog.DiscardHandler))
	if err := p.Ask(context.Background(), question{1}, &reply{}); err != nil {
		t.Fatal(err)
	}
	EndAll()
	if !gone(leader(t, pid)) {
		t.Error("it is still running")
	}
}

// TestLog: the logged output of a program is limited, and a panic of the logger is passed on.
func TestLog(t *testing.T) {
	lines := 0
	say := func(string) { lines++ }
	script := `i=0; while [ $i -lt 1500 ]; do echo line $i >&2; i=$((i+1)); done; echo '{}'`
	out, err := Once(context.Background(), []string{"sh", "-c", script}, nil, 20*time.Second, 1000, say)
	if err != nil || string(out) != "{}\n" || lines != mostSaid+1 {
		t.Errorf("%d lines, %q, %v", lines, out, err)
	}
	err = task.Catch(func() error {
		_, err := Once(context.Background(), []string{"sh", "-c", "echo hello >&2"}, nil, 20*time.Second, 1000, func(string) { panic("planted") })
		return err
	})
	var p *task.Panic
	if !errors.As(err, &p) || p.Value != "planted" {
		t.Errorf("a panic came up as %v", err)
	}
}

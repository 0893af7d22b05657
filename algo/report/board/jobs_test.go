//go:build unix

package board

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dataflex.dev/dataflex/data/storage"
)

func (s *serving) summaryOf(name string) (found Summary) {
	for _, x := range s.summaries() {
		if x.Name == name {
			found = x
		}
	}
	return found
}

// started starts a simulated run and waits until it holds its folder's lock.
func (s *serving) started(name string) Summary {
	s.t.Helper()
	status, body := s.post("start", configuration{YAML: "output_dir: " + filepath.Join(s.dir, name) + "\n" + least})
	if status != 200 || !strings.Contains(body, `"run":"`+name+`"`) {
		s.t.Fatalf("%d %s", status, body)
	}
	until(s.t, "the run runs", func() bool { x := s.summaryOf(name); return strings.HasPrefix(x.State, "running") && x.Of == 10 })
	return s.summaryOf(name)
}

// TestRunsOutliveTheBoard: a run is a process in its own session; it survives the end of its
// board, and the next board finds it and stops it as Ctrl-C does.
func TestRunsOutliveTheBoard(t *testing.T) {
	t.Setenv(pretends, "yes")
	dir, home := t.TempDir(), filepath.Join(t.TempDir(), "lab [2]") // brackets are no pattern
	s := serve(t, Options{Dir: dir, Home: home})
	x := s.started("deep/one")
	if x.Step != 3 || *x.Loss != 2.5 || x.Left != "0:00:07" || !x.Stops || x.Job == "" {
		t.Errorf("%+v", x)
	}
	pid := s.jobs[0].Process.PID
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("the session of process %d is %d, %v", pid, session, err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "deep/one.yaml")); err != nil || !strings.HasSuffix(string(text), least) {
		t.Errorf("the configuration beside the folder: %s, %v", text, err)
	}

	// A second start into the folder fails at the run's own lock, and the page says so.
	if status, body := s.post("start", configuration{YAML: "output_dir: " + filepath.Join(dir, "deep/one") + "\nseed: 7\n" + least}); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	until(t, "the refusal is shown", func() bool { return strings.Contains(s.summaryOf("deep/one").Said, "another run writes there") })
	if x := s.summaryOf("deep/one"); !x.Running || !strings.Contains(x.Said, fmt.Sprintf("is held by process %d ", pid)) || !x.Stops || x.Job != s.jobs[0].ID {
		t.Errorf("after the refusal: %+v", x)
	}
	if !storage.Exists(filepath.Join(dir, "deep/one-2.yaml")) {
		t.Error("the second configuration has taken the first one's place, or was not kept")
	}

	s.stop() // Ctrl-C of the board
	if !s.jobs[0].running() {
		t.Fatal("the run ended with its board")
	}
	next := serve(t, Options{Dir: dir, Home: home})
	if next.token != s.token {
		t.Error("the token is another: a page that is open finds nothing")
	}
	if got := next.Running(); len(got) != 1 || got[0] != "deep/one" {
		t.Fatalf("found again: %v", got)
	}
	if status, body := next.post("stop", map[string]string{"run": x.Name}); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	until(t, "the run has ended", func() bool { return !next.summaryOf("deep/one").Running })
	if got := next.summaryOf("deep/one"); got.State != "stopped; there is no checkpoint" || !storage.Exists(filepath.Join(dir, "deep/one/saved")) {
		t.Errorf("%+v", got)
	}
	if status, body := next.get("log?job=" + x.Job); status != 200 || body != "interrupted; the checkpoint is complete\n" {
		t.Errorf("the log: %d %q", status, body)
	}
	if status, _ := next.post("stop", map[string]string{"run": x.Name}); status != 409 {
		t.Errorf("a run that has ended was stopped: %d", status)
	}
	if status, _ := next.post("stop", map[string]string{"run": "../x"}); status != 404 {
		t.Errorf("a run that there is not: %d", status)
	}
}

// TestKilled: for a run that was killed without saving, the list says how it ended, and from
// which checkpoint it can be resumed.
func TestKilled(t *testing.T) {
	t.Setenv(pretends, "yes")
	s := serve(t, Options{Dir: t.TempDir(), Home: t.TempDir()})
	s.started("one")
	for _, name := range []string{"checkpoint-2", "checkpoint-10", "checkpoint-9", "checkpoint-x", ".checkpoint-11"} {
		at := filepath.Join(s.dir, "one", name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, storage.ManifestFile), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(s.dir, "one", "checkpoint-12"), 0o755); err != nil { // incomplete
		t.Fatal(err)
	}
	if err := syscall.Kill(s.jobs[0].Process.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it has ended", func() bool { return !s.summaryOf("one").Running })
	if x := s.summaryOf("one"); x.State != "killed by signal 9; the newest checkpoint is checkpoint-10" || x.Said != "" {
		t.Errorf("%+v", x)
	}
}

// TestAReusedNumberIsNotSignalled: another process that was given the number of a run that has
// ended is not taken for the run.
func TestAReusedNumberIsNotSignalled(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, os.Interrupt)
	defer signal.Stop(asked)
	first := serve(t, Options{Dir: dir, Home: home})
	me := storage.OwnerOf(os.Getpid())
	for id, change := range map[string]func(*job){
		"start": func(j *job) { j.Process.Started = "1" },
		"none":  func(j *job) { j.Process.Started = "" },
		"boot":  func(j *job) { j.Boot = "another" },
		"host":  func(j *job) { j.Process.Host = "another" },
		"space": func(j *job) { j.Process.Namespace = "another" },
	} {
		j := &job{ID: id, Run: id, Process: me, Boot: boot(), path: filepath.Join(first.home, jobFiles, id+".json")}
		if j.running() != true {
			t.Fatal("this process is not found running: nothing is tested")
		}
		change(j)
		if err := j.write(); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, Options{Dir: dir, Home: home})
	if len(s.jobs) != 5 || len(s.Running()) != 0 {
		t.Errorf("%d jobs, running: %v", len(s.jobs), s.Running())
	}
	for _, j := range s.jobs {
		if status, body := s.post("stop", map[string]string{"run": j.Run}); status != 409 {
			t.Errorf("%s: %d %s", j.ID, status, body)
		}
	}
	select {
	case <-asked:
		t.Error("a process that is no run was signalled")
	default:
	}
}

// TestStopsRunsStartedElsewhere: a run that no board started is stopped as by Ctrl-C.
func TestStopsRunsStartedElsewhere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "own.yaml")
	if err := os.WriteFile(file, []byte("output_dir: "+filepath.Join(dir, "own")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), os.Args[0], file)
	c.Env = append(os.Environ(), pretends+"=yes")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	until(t, "the run runs", func() bool { x := s.summaryOf("own"); return strings.HasPrefix(x.State, "running") && x.Of == 10 })
	if x := s.summaryOf("own"); x.Stops != (runtime.GOOS == "linux") || x.Job != "" {
		t.Errorf("%+v", x)
	}
	if runtime.GOOS != "linux" {
		t.Skip("what may write the lock's file depends on the umask here")
	}
	if status, body := s.post("stop", map[string]string{"run": "own"}); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if err := c.Wait(); c.ProcessState.ExitCode() != interrupted || !storage.Exists(filepath.Join(dir, "own/saved")) {
		t.Errorf("the run ended with %v", err)
	}
	if x := s.summaryOf("own"); x.Running || x.Stops || x.State != "ended; there is no checkpoint" {
		t.Errorf("%+v", x)
	}
	if status, _ := s.post("stop", map[string]string{"run": "own"}); status != 409 {
		t.Errorf("a run that has ended was stopped: %d", status)
	}
}

// TestAForgedLockIsNotSignalled: a lock file that names a living process does not stop it,
// unless that holds the file open and is this user's.
func TestAForgedLockIsNotSignalled(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux says which files a process has open")
	}
	for _, other := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "runs")
		run := filepath.Join(dir, "forged")
		if err := os.MkdirAll(run, 0o755); err != nil {
			t.Fatal(err)
		}
		lock, err := os.Create(filepath.Join(run, storage.LockFile))
		if err != nil {
			t.Fatal(err)
		}
		c := exec.CommandContext(t.Context(), "sleep", "600")
		if other {
			if os.Getuid() != 0 {
				t.Skip("only root can be another user")
			}
			c.ExtraFiles = []*os.File{lock}
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		defer c.Wait()
		defer c.Process.Kill()
		text, err := json.Marshal(storage.OwnerOf(c.Process.Pid))
		if err == nil {
			_, err = lock.Write(text)
		}
		if err := errors.Join(err, lock.Close(), os.WriteFile(filepath.Join(run, storage.RunFile), []byte("{}"), 0o644)); err != nil {
			t.Fatal(err)
		}
		s := serve(t, Options{Dir: dir, Home: t.TempDir()})
		x := s.summaryOf("forged")
		if status, body := s.post("stop", map[string]string{"run": "forged"}); x.Stops || status != 409 || !strings.Contains(body, "stop it where it was started") {
			t.Errorf("another user's: %v: %+v; %d %s", other, x, status, body)
		}
		if !storage.OwnerOf(c.Process.Pid).Running() {
			t.Errorf("another user's: %v: it was signalled", other)
		}
	}
}

// TestSecrets: the token and everything else that a board stores is readable by its user only.
func TestSecrets(t *testing.T) {
	home, dir := filepath.Join(t.TempDir(), "a", "board"), t.TempDir()
	s := serve(t, Options{Dir: dir, Home: home})
	err := filepath.WalkDir(s.home, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.home, "token")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	elsewhere := filepath.Join(t.TempDir(), "theirs")
	spoil := map[string]func() error{
		"read by others": func() error { return os.Chmod(path, 0o644) },
		"cut short":      func() error { return os.WriteFile(path, []byte("00"), 0o600) },
		"a link": func() error {
			return errors.Join(os.WriteFile(elsewhere, bytes.Repeat([]byte("0"), 64), 0o600), os.Remove(path), os.Symlink(elsewhere, path))
		},
	}
	for name, do := range spoil {
		before, err := token(s.home)
		if err != nil {
			t.Fatal(err)
		}
		if err := do(); err != nil {
			t.Fatal(err)
		}
		after, err := token(s.home)
		if err != nil || after == before || after == strings.Repeat("0", 64) || len(after) != 64 {
			t.Errorf("%s: %s, then %s, %v", name, before, after, err)
		}
	}
	if err := os.Chmod(s.home, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Dir: dir, Home: home}); err == nil || !strings.Contains(err.Error(), "can be read by other users") {
		t.Errorf("a folder that others can read: %v", err)
	}
}

// TestAnotherUser: without read access to the token's file there is no access.
func TestAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be another user")
	}
	home, err := os.MkdirTemp("", "board-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{Dir: t.TempDir(), Home: filepath.Join(home, "of")})
	c := exec.CommandContext(context.Background(), "cat", filepath.Join(s.home, "token"))
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := c.Output(); err == nil || len(out) > 0 {
		t.Errorf("another user reads %q", out)
	}
}

// TestPanics: a panic in a handler, or while reading a run, is one line; the board continues.
func TestPanics(t *testing.T) {
	var said bytes.Buffer
	calls := 0
	check := func(context.Context, string) ([]error, []string) {
		if calls++; calls == 1 {
			noMap["x"] = 1
		}
		return nil, nil
	}
	s := serve(t, Options{Dir: t.TempDir(), Home: t.TempDir(), Check: check, Log: slog.New(slog.NewTextHandler(&said, nil))})
	status, body := s.post("check", configuration{YAML: "a: b"})
	if status != 500 || strings.Count(body, "\n") != 1 || !strings.Contains(body, "assignment to entry in nil map (algo/report/board/jobs_test.go:") && !strings.Contains(body, "report/board/jobs_test.go:") {
		t.Errorf("%d %s", status, body)
	}
	if strings.Count(said.String(), "\n") != 1 || !strings.Contains(said.String(), "assignment to entry in nil map") {
		t.Errorf("the log: %s", said.String())
	}
	if status, body := s.post("check", configuration{YAML: "output_dir: " + filepath.Join(s.dir, "x")}); status != 200 {
		t.Errorf("after it: %d %s", status, body)
	}
}

// noMap stays nil: writing to it panics.
var noMap map[string]int

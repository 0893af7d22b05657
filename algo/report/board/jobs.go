package board

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// job is a run started by a board. It is recorded in a file, for later boards.
type job struct {
	ID      string        `json:"id"`
	Run     string        `json:"run"`    // its name
	Config  string        `json:"config"` // the configuration's file
	Log     string        `json:"log"`    // its output
	Process storage.Owner `json:"process"`
	Boot    string        `json:"boot,omitempty"` // of the machine: process numbers start again after a reboot
	Code    *int          `json:"code,omitempty"` // its exit code, once it is known
	Seen    time.Time     `json:"seen,omitzero"`  // when the exit code was read

	path  string   // of its file
	lines []string // the last lines printed, once it has ended
	ours  bool     // a child of this process
}

// mostJobs is how many runs that have ended are remembered.
const mostJobs = 50

// jobFiles is the folder of jobs within the board's own.
const jobFiles = "jobs"

// readJobs finds the runs that earlier boards started.
func readJobs(home string) (jobs []*job, err error) {
	dir := filepath.Join(home, jobFiles)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	paths, err := storage.Match(dir, "*.json")
	if err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another board has just forgotten it
		}
		if err != nil {
			return nil, fmt.Errorf("board: %w", err)
		}
		j := &job{path: path}
		if json.Unmarshal(raw, j) != nil || j.ID+".json" != filepath.Base(path) {
			continue // written by a later version
		}
		jobs = append(jobs, j)
	}
	slices.SortFunc(jobs, func(a, b *job) int { return a.Process.Since.Compare(b.Process.Since) })
	return jobs, nil
}

// running reports whether the process that was started is still running. Another process that
// has since been given its number does not count.
func (j *job) running() bool {
	switch {
	case j.Code != nil || j.Boot != boot():
		return false
	case !j.ours: // its number may have been reused by a child
		return j.Process.Running()
	}
	code, known := ended(j.Process.PID)
	if known {
		j.Code, j.Seen = &code, time.Now()
		_ = j.write() // on failure the next board reads the log instead
	}
	return !known
}

// how is how a run has ended, in a word; "" where that is unknown.
func (j *job) how() string {
	switch {
	case j.running():
		return ""
	case j.Code == nil && j.printed() && strings.HasPrefix(j.lines[len(j.lines)-1], "interrupted"), j.Code != nil && *j.Code == interrupted:
		return "stopped"
	case j.Code != nil && *j.Code > killed:
		return fmt.Sprintf("killed by signal %d", *j.Code-killed)
	}
	return ""
}

// printed reads the last lines of a run that has ended, and reports whether there are any.
func (j *job) printed() bool {
	if j.lines == nil {
		j.lines = []string{}
		for line := range lastLines(j.Log) {
			if text := strings.TrimRight(string(line), "\n"); text != "" {
				j.lines = append(j.lines, text)
			}
		}
	}
	return len(j.lines) > 0
}

// boot identifies the current boot of the machine, where the system does.
func boot() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

func (j *job) write() error {
	raw, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	return writePrivate(j.path, append(raw, '\n'))
}

// Exit codes of a run: that of tools/command for a run that was interrupted and has saved;
// signals are numbers above the other.
const (
	interrupted = 130
	killed      = 128
)

// saidLines is how many lines of a run's output the list shows.
const saidLines = 6

// said is the error message of a run that failed; "" where it did not, or was ended from
// outside.
func (j *job) said() string {
	if j.running() || j.Code != nil && (*j.Code == 0 || *j.Code == interrupted || *j.Code > killed) {
		return ""
	}
	at := -1
	if j.printed() {
		at = slices.IndexFunc(j.lines, func(l string) bool { return strings.HasPrefix(l, "error: ") })
	}
	if j.Code == nil && at < 0 {
		return "" // it may have succeeded: its exit code was not read
	}
	said := j.lines[max(0, at):]
	return strings.Join(said[max(0, len(said)-saidLines):], "\n")
}

// jobOf is the running job of a name: the process that holds the folder's lock, otherwise the
// last one that was started. The caller holds mu.
func (b *Board) jobOf(name string, holder int) (found *job) {
	for _, j := range b.jobs {
		if j.Run == name && j.running() && (found == nil || found.Process.PID != holder) {
			found = j
		}
	}
	return found
}

// launch starts a run as a separate process.
func (b *Board) launch(name, config string) (*job, error) {
	id := fmt.Sprintf("%d", time.Now().UnixNano())
	j := &job{ID: id, Run: name, Config: config, Log: filepath.Join(b.home, jobFiles, id+".log"), Boot: boot(), ours: true}
	j.path = filepath.Join(b.home, jobFiles, id+".json")
	log, err := os.OpenFile(j.Log, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	defer log.Close()
	args := append(slices.Clone(b.options.Program[1:]), config)
	c := exec.Command(b.options.Program[0], args...)
	c.Stdout, c.Stderr, c.SysProcAttr = log, log, detached()
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("board: %w", err)
	}
	j.Process = storage.OwnerOf(c.Process.Pid)
	err = j.write()
	// Nobody waits for it: its exit code is read when the run is shown.
	return j, errors.Join(err, c.Process.Release())
}

// prune removes the oldest runs that have ended.
func prune(jobs []*job) []*job {
	over := -mostJobs
	for _, j := range jobs {
		if !j.running() {
			over++
		}
	}
	return slices.DeleteFunc(jobs, func(j *job) bool {
		if over <= 0 || j.running() {
			return false
		}
		over--
		for _, path := range []string{j.path, j.Log} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return false // tried again later
			}
		}
		return true
	})
}

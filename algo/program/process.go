package program

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dataflex.dev/dataflex/data/task"
)

// patience is how long to wait for a program, or its pipes, to end.
const patience = time.Second

// process is a started command in its own process group.
type process struct {
	cmd            *exec.Cmd
	stdin          *os.File // our ends of its pipes
	stdout, stderr *os.File
	exited         chan struct{} // closed when the command itself has ended
	err            error         // how, after exited
	stderrRead     chan struct{} // closed when its standard error has been read to the end
	closing        chan struct{} // closed when its output is no longer wanted
	tasks          task.Group    // read and write the pipes
	waiting        task.Group    // wait for the command; not waited for itself, since the kernel may be unable to end the command

	shown atomic.Int64 // lines of standard error logged since the last request
	mu    sync.Mutex
	tail  string // the end of its standard error
}

// started are the processes that have not ended.
var started struct {
	sync.Mutex
	all map[*process]bool
}

// EndAll ends every program that is still running. It is called when the whole program ends,
// for whatever reason, so that no process it started remains.
func EndAll() {
	started.Lock()
	all := started.all
	started.all = nil
	started.Unlock()
	var ends task.Group
	for r := range all {
		ends.Go(r.end)
	}
	ends.Wait()
}

// start starts a command. say receives the lines of its standard error.
func start(command []string, say func(line string)) (*process, error) {
	r := &process{cmd: exec.Command(command[0], command[1:]...), exited: make(chan struct{}), stderrRead: make(chan struct{}), closing: make(chan struct{})}
	theirs, err := r.pipes()
	if err != nil {
		return nil, errors.Join(err, closeAll(append(theirs, r.stdin, r.stdout, r.stderr)))
	}
	ownGroup(r.cmd)
	EndWithParent(r.cmd)
	err = r.cmd.Start()
	if err := errors.Join(err, closeAll(theirs)); err != nil {
		return nil, errors.Join(err, closeAll([]*os.File{r.stdin, r.stdout, r.stderr}))
	}
	started.Lock()
	if started.all == nil {
		started.all = map[*process]bool{}
	}
	started.all[r] = true
	started.Unlock()
	r.waiting.Go(func() {
		defer close(r.exited)
		r.err = r.cmd.Wait()
	})
	r.tasks.Go(func() {
		defer close(r.stderrRead)
		r.listen(say)
	})
	return r, nil
}

// pipes connects the command to pipes. They are files, so that waiting for the command does not
// wait for processes to which it has passed them on.
func (r *process) pipes() (theirs []*os.File, err error) {
	stdin, w, err1 := os.Pipe()
	o, stdout, err2 := os.Pipe()
	e, stderr, err3 := os.Pipe()
	r.stdin, r.stdout, r.stderr = w, o, e
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = stdin, stdout, stderr
	return []*os.File{stdin, stdout, stderr}, errors.Join(err1, err2, err3)
}

func closeAll(files []*os.File) (err error) {
	for _, f := range files {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// Limits on logging a program's standard error: the first bytes of a line, and so many lines
// per request.
const (
	longestSaid = 4096
	mostSaid    = 1000
)

// listen logs the command's standard error.
func (r *process) listen(say func(line string)) {
	in := bufio.NewReaderSize(r.stderr, longestSaid)
	for {
		part, more, err := in.ReadLine()
		if err != nil {
			return
		}
		line := string(bytes.ToValidUTF8(part, []byte("\ufffd")))
		for more && err == nil { // the rest of a long line
			_, more, err = in.ReadLine()
		}
		r.remember(line)
		switch n := r.shown.Add(1); {
		case n <= mostSaid && say != nil:
			say(line)
		case n == mostSaid+1 && say != nil:
			say(fmt.Sprintf("it has written %d lines for one answer: the rest is not shown", mostSaid))
		}
	}
}

func (r *process) remember(line string) {
	const most = 400
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tail += line + "\n"
	if over := len(r.tail) - most; over > 0 {
		r.tail = r.tail[over:]
	}
}

// quoted is the end of the command's standard error, for an error message.
func (r *process) quoted() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if said := strings.TrimSpace(r.tail); said != "" {
		return fmt.Sprintf("; it said: %q", said)
	}
	return ""
}

// end closes the command's input, gives it a moment, and kills what remains of its group. A
// command that even the kernel cannot end is left behind.
func (r *process) end() {
	started.Lock()
	delete(started.all, r)
	started.Unlock()
	close(r.closing)
	_ = r.stdin.Close() // it may have been closed before
	await(r.exited)
	killGroup(r.cmd)
	await(r.exited)
	await(r.stderrRead)
	_ = r.stdout.Close() // ends our reads, whoever holds the other ends
	_ = r.stderr.Close()
	r.tasks.Wait()
}

func await(event <-chan struct{}) {
	select {
	case <-event:
	case <-time.After(patience):
	}
}

var errTooLong = errors.New("the line is too long")

// nextLine reads a line without its end. A line of more than most() bytes is errTooLong.
func nextLine(r *bufio.Reader, most func() int64) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if limit := most(); int64(len(line)+len(part)) > limit {
			return nil, fmt.Errorf("%w: an answer to this request has at most %d bytes", errTooLong, limit)
		}
		line = append(line, part...)
		switch {
		case err == nil, err == io.EOF && len(line) > 0:
			return bytes.TrimRight(line, "\r\n"), nil
		case err != bufio.ErrBufferFull:
			return nil, err
		}
	}
}

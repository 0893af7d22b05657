// Package board serves the report page of every run in a folder on this machine only, follows
// the runs as they train, and starts and stops them. A run is a separate process: it outlives
// the board, and the next board finds it again.
//
// Access is granted by the token in the address. It is stored in a file that only its owner can
// read; without it every response is 403 and empty. Since a page of another site can make a
// browser send requests to a server on this machine, the requested host must be this machine by
// name or number, and an action must come from one of our own pages.
//
// Nothing in a request is ever used as a path: a run is named by what a walk through the folder
// has found. Only the report's files of a run's folder are read, and they must not lead out of
// the folder; the rows' texts are read, as for any report, from the data files that the run
// names.
package board

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"dataflex.dev/dataflex/data/task"
)

// Options are set by the command.
type Options struct {
	Dir     string   // whose runs are shown, and where new ones are put
	Port    int      // of 127.0.0.1; 0 = one that is free
	Home    string   // a folder of the user's, for the token and the records of runs that were started
	Program []string // the command that trains; the configuration's file is appended to it
	Check   Check
	Log     *slog.Logger
	Every   time.Duration // how often the runs are checked; 0 = every second
}

// Check returns all faults of a configuration's file, and notices for its user.
type Check func(ctx context.Context, file string) (faults []error, notices []string)

// Board is a running board.
type Board struct {
	Address string // for the browser, with the token

	options  Options
	dir      string // absolute, without symbolic links
	home     string // of this folder's board
	token    string
	listener net.Listener
	handlers map[string]handler
	checking sync.Mutex // only one request at a time checks a configuration
	streams  chan struct{}
	slots    chan struct{} // of runs that are read at the same time
	readers  task.Group
	closing  context.Context // ends with Serve
	close    context.CancelFunc

	mu   sync.Mutex
	runs runs
	jobs []*job // in the order in which they were started
}

// mostReaders is the maximum number of runs that are read at the same time: each may take as much
// memory as its selections.
const mostReaders = 4

// mostStreams is the maximum number of pages that follow runs at the same time.
const mostStreams = 64

// Open opens the port and finds the runs that an earlier board started.
func Open(o Options) (*Board, error) {
	if o.Every == 0 {
		o.Every = time.Second
	}
	b := &Board{options: o, streams: make(chan struct{}, mostStreams), slots: make(chan struct{}, mostReaders)}
	b.runs = runs{loaded: map[string]*loaded{}, reading: map[string]chan struct{}{}, progress: map[string]reached{}}
	b.closing, b.close = context.WithCancel(context.Background())
	var err error
	if b.dir, err = filepath.Abs(o.Dir); err == nil {
		b.dir, err = filepath.EvalSymlinks(b.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("board: %w: name the folder that runs are in", err)
	}
	if b.home, err = private(o.Home, b.dir); err != nil {
		return nil, err
	}
	if b.token, err = token(b.home); err != nil {
		return nil, err
	}
	if b.jobs, err = readJobs(b.home); err != nil {
		return nil, err
	}
	if b.listener, err = net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port))); err != nil {
		return nil, fmt.Errorf("board: %w: choose another port with --port, or 0 for any free one", err)
	}
	b.handlers = b.routes()
	b.Address = fmt.Sprintf("http://%s/%s/", b.listener.Addr(), b.token)
	return b, nil
}

// Serve serves requests until ctx ends; runs continue after that.
func (b *Board) Serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           b,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(b.options.Log.Handler(), slog.LevelDebug),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // ends the open event streams
	defer b.readers.Wait()
	defer b.close()
	if err := server.Serve(b.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("board: %w", err)
	}
	return nil
}

// Running are the runs that were started here and are still running.
func (b *Board) Running() (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.jobs {
		if j.running() {
			names = append(names, j.Run)
		}
	}
	return names
}

// caught runs do and turns a panic into a one-line error, which is logged.
func (b *Board) caught(doing string, do func() error) error {
	err := task.Catch(do)
	var p *task.Panic
	if errors.As(err, &p) {
		b.options.Log.Error("the board continues after an internal error, please report it", "doing", doing, "fault", p.Error())
	}
	return err
}

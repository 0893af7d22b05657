// Package board serves the report page of every run of a folder on this machine alone,
// follows the runs as they train, and starts and stops them. A run is a process of its
// own: it outlives the board, and the next board finds it again.
//
// Who may see and do anything is who knows the token in the address. It lies in a file
// that its owner alone can read; without it every answer is 403 and empty. Since a page
// of another site can make a browser ask a server on this machine, the host that is asked
// must be this machine by name or number, and an action must come from a page of ours.
//
// Nothing of a request is ever a path: a run is named by what a walk through the folder
// has found. Of a run's folder the files of the report are read, and they must not lead
// out of the folder; the rows' texts are read, as for any report, from the data files
// that the run names.
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

// Options is what a command gives.
type Options struct {
	Dir     string   // whose runs are shown, and where new ones are put
	Port    int      // of 127.0.0.1; 0 = one that is free
	Home    string   // a folder of the user's, for the token and what is known of the runs that were started
	Program []string // trains the configuration whose file is added to it
	Check   Check
	Log     *slog.Logger
	Every   time.Duration // how often the runs are looked at; 0 = a second
}

// Check says all that is wrong with a configuration's file, and what else its user should
// know.
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
	checking sync.Mutex // a configuration is checked by one request at a time
	streams  chan struct{}

	mu   sync.Mutex
	runs runs
	jobs []*job // in the order they were started
}

// mostStreams is how many pages may follow runs at a time.
const mostStreams = 64

// Open takes the port and finds the runs that an earlier board started.
func Open(o Options) (*Board, error) {
	if o.Every == 0 {
		o.Every = time.Second
	}
	b := &Board{options: o, streams: make(chan struct{}, mostStreams), runs: runs{loaded: map[string]*loaded{}, progress: map[string]reached{}}}
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
		return nil, fmt.Errorf("board: %w: --port takes another one, 0 any that is free", err)
	}
	b.handlers = b.routes()
	b.Address = fmt.Sprintf("http://%s/%s/", b.listener.Addr(), b.token)
	return b, nil
}

// Serve answers until ctx ends, which leaves the runs alone.
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
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // whoever listens is told by the end
	if err := server.Serve(b.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("board: %w", err)
	}
	return nil
}

// Running are the runs that were started here and go on.
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

// caught does something and turns a panic into an error of one line, which is logged.
func (b *Board) caught(doing string, do func() error) error {
	err := task.Catch(do)
	var p *task.Panic
	if errors.As(err, &p) {
		b.options.Log.Error("the board goes on after a fault of its own, please report it", "doing", doing, "fault", p.Error())
	}
	return err
}

// Package task owns the goroutines that the program starts. A failure inside one, a panic or a
// read of a mapped file that was truncated, is raised where the goroutine is waited for instead
// of ending the process on the spot: the program can then still report what was saved.
package task

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"dataflex.dev/dataflex/data/storage"
)

// Panic is what code panicked with, as an error.
type Panic struct {
	Value any
	Where string // file:line of the panic
	Stack []byte // of the goroutine, as runtime/debug prints it
}

// Error is one line, whatever value the code panicked with.
func (p *Panic) Error() string {
	what := strings.Join(strings.Fields(fmt.Sprint(p.Value)), " ")
	if fault, ok := p.Value.(interface{ Addr() uintptr }); ok {
		what = fmt.Sprintf("memory at %#x could not be read: a file in use was truncated, or its disk failed", fault.Addr())
	}
	return what + " (" + p.Where + ")"
}

// Unwrap is the panic's value where that is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Catch calls f. A panic in it becomes a *Panic, and so does a fault of mapped memory, which
// would otherwise kill the process.
func Catch(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = caught(v)
		}
	}()
	return f()
}

// caught describes a panic that was just recovered. One that was raised again from another
// goroutine keeps its original description.
func caught(v any) *Panic {
	if p, ok := v.(*Panic); ok {
		return p
	}
	if fault := storage.AsFault(v); fault != nil { // before the file is unmapped
		v = fault
	}
	return &Panic{Value: v, Where: origin(), Stack: debug.Stack()}
}

// origin is the place of the first panic: below it on the stack are the deferred functions that
// recovered to clean up and panicked again.
func origin() string {
	pcs := make([]uintptr, 256)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	place, panicking := "an unknown place", false
	for {
		f, more := frames.Next()
		switch {
		case strings.HasPrefix(f.Function, "runtime.") && strings.Contains(strings.ToLower(f.Function), "panic"):
			panicking = true
		case panicking && !strings.HasPrefix(f.Function, "runtime."):
			place, panicking = fmt.Sprintf("%s:%d", short(f.File), f.Line), false
		}
		if !more {
			return place
		}
	}
}

// short is a source file's path from its last folder on.
func short(file string) string {
	parts := strings.Split(file, "/")
	return strings.Join(parts[max(0, len(parts)-3):], "/")
}

// Group is a set of goroutines that are waited for together. The zero value is ready for use.
type Group struct {
	running sync.WaitGroup
	first   atomic.Pointer[Panic]
}

// Go calls f on a goroutine of its own.
func (g *Group) Go(f func()) {
	g.running.Go(func() {
		err := Catch(func() error {
			f()
			return nil
		})
		if err != nil {
			g.first.CompareAndSwap(nil, err.(*Panic))
		}
	})
}

// Failed reports whether one of the goroutines has panicked, so that the others may stop.
func (g *Group) Failed() bool { return g.first.Load() != nil }

// Wait returns when all goroutines have ended, and panics with the *Panic of the first that
// panicked.
func (g *Group) Wait() {
	g.running.Wait()
	if p := g.first.Load(); p != nil {
		panic(p)
	}
}

// Package task owns the goroutines that the program starts. What goes wrong inside
// one, a panic or a read of a mapped file that has become shorter, comes up where the
// goroutine is waited for instead of ending the process on the spot: the program can
// then still say what is saved.
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

// Error is one line, whatever the panic's value says.
func (p *Panic) Error() string {
	what := strings.Join(strings.Fields(fmt.Sprint(p.Value)), " ")
	if fault, ok := p.Value.(interface{ Addr() uintptr }); ok {
		what = fmt.Sprintf("memory at %#x could not be read: a file in use was made shorter, or its disk fails", fault.Addr())
	}
	return what + " (" + p.Where + ")"
}

// Unwrap is the panic's value where it is an error.
func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Catch calls f. A panic in it is a *Panic, and so is a fault of mapped memory, which
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

// caught describes a panic that was just recovered. One that came up from another
// goroutine stays as it was there.
func caught(v any) *Panic {
	if p, ok := v.(*Panic); ok {
		return p
	}
	if fault := storage.AsFault(v); fault != nil { // while the mapping is still known
		v = fault
	}
	return &Panic{Value: v, Where: origin(), Stack: debug.Stack()}
}

// origin is the place that panicked first: below it on the stack stand those that
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

// short is a source file with its folder.
func short(file string) string {
	parts := strings.Split(file, "/")
	return strings.Join(parts[max(0, len(parts)-3):], "/")
}

// Group is goroutines that are waited for together. The zero value is ready for use.
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

// Failed reports whether one of the goroutines has panicked: the others may stop.
func (g *Group) Failed() bool { return g.first.Load() != nil }

// Wait returns when all goroutines have, and panics with the *Panic of the first that
// did.
func (g *Group) Wait() {
	g.running.Wait()
	if p := g.first.Load(); p != nil {
		panic(p)
	}
}

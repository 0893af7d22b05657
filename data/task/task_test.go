package task

import (
	"errors"
	"strings"
	"testing"
)

func TestCatch(t *testing.T) {
	wanted := errors.New("as it is")
	if err := Catch(func() error { return wanted }); err != wanted {
		t.Errorf("an error became %v", err)
	}
	err := Catch(func() error {
		m := noMap
		m["x"] = 1
		return nil
	})
	var p *Panic
	if !errors.As(err, &p) || !strings.Contains(err.Error(), "assignment to entry in nil map (data/task/task_test.go:") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a panic became %v", err)
	}
	if p != nil && !strings.Contains(string(p.Stack), "TestCatch") {
		t.Errorf("the trace is not the panic's:\n%s", p.Stack)
	}
	err = Catch(func() error {
		defer func() { panic(recover()) }() // as code that cleans up does
		var none []int
		return []error{}[len(none)]
	})
	if !strings.Contains(err.Error(), "index out of range [0] with length 0 (data/task/task_test.go:29)") {
		t.Errorf("a panic that was recovered on its way: %v", err)
	}
	if err := Catch(func() error { panic("two\nlines") }); !strings.HasPrefix(err.Error(), "two lines (") {
		t.Errorf("a panic of two lines: %v", err)
	}
}

// TestGroup: a panic in one of several goroutines is raised by Wait, after the others have
// ended, with the stack trace of its origin.
func TestGroup(t *testing.T) {
	var g Group
	release := make(chan struct{})
	ended := false
	g.Go(func() { <-release; ended = true })
	g.Go(func() {
		defer close(release)
		panic("planted")
	})
	err := Catch(func() error { g.Wait(); return nil })
	var p *Panic
	if !errors.As(err, &p) || p.Value != "planted" || !strings.Contains(string(p.Stack), "TestGroup.func2") {
		t.Errorf("the panic came up as %v", err)
	}
	if !ended || !g.Failed() {
		t.Error("Wait did not wait for the other goroutine, or does not know of the failure")
	}
	var fine Group
	fine.Go(func() {})
	fine.Wait()
}

// noMap stays nil: writing to it panics.
var noMap map[string]int

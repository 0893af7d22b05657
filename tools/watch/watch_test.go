package watch

import (
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestRun: a program that ends by itself, one that hangs after its first line or before, one
// that writes on and on, and one that is not there.
func TestRun(t *testing.T) {
	long := Limits{First: time.Minute, Silence: time.Minute}
	var w strings.Builder
	text, why, err := Run(exec.Command("sh", "-c", "echo a; echo b >&2; exit 3"), long, &w)
	if text != "a\nb\n" || w.String() != text || why != "" || err == nil || LastLine(text, err) != "exit status 3: b" {
		t.Errorf("%q, %q, %v", text, why, err)
	}
	for script, l := range map[string]Limits{
		"exec sleep 60":                             {First: 50 * time.Millisecond, Silence: time.Minute},
		"echo a; exec sleep 60":                     {First: time.Minute, Silence: 50 * time.Millisecond},
		"trap '' TERM; echo a; while :; do :; done": {First: time.Minute, Silence: 50 * time.Millisecond},
	} {
		if _, why, err := Run(exec.Command("sh", "-c", script), l, &w); why != "no end after 50ms" || err == nil {
			t.Errorf("%s: %q, %v", script, why, err)
		}
	}
	l := Limits{First: time.Minute, Silence: time.Minute, Deadline: time.Now().Add(100 * time.Millisecond)}
	if _, why, _ := Run(exec.Command("sh", "-c", "while :; do echo a; done"), l, new(strings.Builder)); why != OutOfTime {
		t.Errorf("%q", why)
	}
	if _, _, err := Run(exec.Command("/no/such/program"), long, &w); err == nil {
		t.Error("a program that is not there runs")
	}
}

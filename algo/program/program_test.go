package program

import (
	"bytes"
	"context"
	"log/slog"
	"os/exec"
	"strings"
	"testing"
	"time"
)

type question struct {
	N int `json:"n"`
}

type reply struct {
	Twice int `json:"twice"`
	PID   int `json:"pid"`
}

// shell is a program of the given script.
func shell(t *testing.T, script string, timeout time.Duration) (*Program, *bytes.Buffer) {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no sh here")
	}
	var log bytes.Buffer
	p := New([]string{sh, "-c", script}, timeout, slog.New(slog.NewTextHandler(&log, nil)))
	t.Cleanup(p.Close)
	return p, &log
}

const answerOne = `read -r line; n=${line#*:}; n=${n%\}}; echo "{\"twice\": $((2*n)), \"pid\": $$}"`

// TestAsk: a program that keeps answering is started once, one that answers once is started
// again.
func TestAsk(t *testing.T) {
	for _, c := range []struct {
		script string
		starts int
	}{
		{"echo hello >&2; while " + answerOne + "; do :; done", 1},
		{"echo hello >&2; " + answerOne, 5},
		{`echo hello >&2; while printf '\357\273\277' && ` + answerOne + "; do :; done", 1}, // byte order marks
	} {
		p, log := shell(t, c.script, 10*time.Second)
		pids := map[int]bool{}
		for n := range 5 {
			var got reply
			if err := p.Ask(context.Background(), question{n}, &got); err != nil {
				t.Fatal(err)
			}
			if got.Twice != 2*n {
				t.Errorf("twice %d is %d", n, got.Twice)
			}
			pids[got.PID] = true
		}
		p.Close()
		if len(pids) != c.starts {
			t.Errorf("%d starts, want %d", len(pids), c.starts)
		}
		if !strings.Contains(log.String(), "hello") {
			t.Errorf("standard error is not in the log: %q", log.String())
		}
	}
}

func TestAskRefuses(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"read -r l; echo no idea >&2; exit 3", `it ended without an answer: exit status 3; it said: "no idea"`},
		{"read -r l", "it ended without an answer"},
		{"read -r l; echo sorry", `not the JSON line expected`},
		{`read -r l; echo "[1]"`, "not the JSON line expected"},
		{`read -r l; echo '{"twice": NaN}'`, "not the JSON line expected"},
		{"read -r l; sleep 5", "no answer within 100ms"},
		{"read -r l; printf '{}'; sleep 5", "an answer counts once its line has ended and is flushed"},
	} {
		p, _ := shell(t, c.script, 100*time.Millisecond)
		if !strings.Contains(c.script, "sleep 5") {
			p.timeout = 10 * time.Second
		}
		start := time.Now()
		err := p.Ask(context.Background(), question{1}, &reply{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.script, err)
		}
		if time.Since(start) > 4*time.Second {
			t.Errorf("%s: took %s", c.script, time.Since(start))
		}
	}
	p := New([]string{"/no/such/program"}, time.Second, slog.New(slog.DiscardHandler))
	if err := p.Ask(context.Background(), question{1}, &reply{}); err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Error(err)
	}
	q, _ := shell(t, "read -r l; sleep 5", time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Ask(ctx, question{1}, &reply{}); err == nil || !strings.Contains(err.Error(), "canceled") {
		t.Error(err)
	}
}

// TestUnasked: a surplus answer is not taken for the next one.
func TestUnasked(t *testing.T) {
	p, _ := shell(t, `while read -r l; do echo "{}"; echo "{}"; done`, 10*time.Second)
	if err := p.Ask(context.Background(), question{1}, &reply{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := p.Ask(context.Background(), question{2}, &reply{}); err == nil || !strings.Contains(err.Error(), "without a request") {
		t.Error(err)
	}
}

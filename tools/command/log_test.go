package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/data/progress"
)

// TestLogIsClean: text from data, configurations and judges in a log line can neither control
// the terminal nor reveal a secret, in both formats.
func TestLogIsClean(t *testing.T) {
	for _, f := range []logFormat{textLog, jsonLog} {
		t.Run(string(f), func(t *testing.T) {
			format = f
			defer func() { format = textLog }()
			var out bytes.Buffer
			log := Logger(&out).With("url", "https://me:s3cret@judge/v1")
			log.Info("said \x1b[2J", "answer", "\x1b]0;owned\x07", "api_key", "abcdef", "error", errors.New("token hf_AbCdEfGhIjKlMnOpQr"), "list", []string{"\x1b[31m"}, "n", 3, "d", 2*time.Second)
			for _, bad := range []string{"\x1b", "\x07", "s3cret", "abcdef", "AbCdEf"} {
				if strings.Contains(out.String(), bad) {
					t.Errorf("%q is in %q", bad, out.String())
				}
			}
			var line map[string]any
			if f == jsonLog && (json.Unmarshal(out.Bytes(), &line) != nil || line["n"] != 3.0 || line["d"] != 2.0 || line["url"] != "https://me:***@judge/v1") {
				t.Errorf("not the JSON line expected: %s", out.String())
			}
			out.Reset()
			Exit(fmt.Errorf("bad \x1b[1m key, override 'hf_hub_token=hf_AbCdEfGhIjKlMnOpQr'"), &out)
			if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "AbCdEf") || f == jsonLog && json.Unmarshal(out.Bytes(), &line) != nil {
				t.Errorf("the error is %q", out.String())
			}
		})
	}
}

// TestScreen: log lines are above the progress, which is one line, and none is lost when the
// progress is removed.
func TestScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, width: func() int { return 30 }}
	b := &bar{screen: s}
	fmt.Fprintln(s, "first")
	b.Step(1, 4, 2.5, 100)
	fmt.Fprintln(s, "second")
	b.started = b.started.Add(-10 * time.Second)
	b.Step(4, 4, 1.25, 400)
	b.Close()
	fmt.Fprintln(s, "last")
	got := strings.ReplaceAll(out.String(), clearLine, "~")
	want := "first\n~step 1/4  25 %  loss 2.5000~second\nstep 1/4  25 %  loss 2.5000~step 4/4  100 %  loss 1.2500 ~last\n"
	if got != want {
		t.Errorf("the terminal got\n%q, wanted\n%q", got, want)
	}
	s.width = func() int { return 100 }
	out.Reset()
	b.Step(4, 4, 1.25, 400)
	if !strings.Contains(out.String(), "loss 1.2500  30 tokens/s  0s left") {
		t.Errorf("%q", out.String())
	}
}

// TestPassOnAScreen: a pass is one line that is updated, with its rate and the remaining time,
// and is replaced by the next log line. On a pipe nothing is printed in the first ten seconds.
func TestPassOnAScreen(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out, width: func() int { return 80 }}
	log := slog.New(clean{slog.NewTextHandler(s, nil), s})
	log.Log(t.Context(), progress.Shown, "gradients", progress.Rows, 20, progress.Total, 80, progress.Rate, 2.5, progress.Remaining, 24*time.Second)
	log.Info("tokenising d", progress.Rows, 512, progress.Rate, 1000.0)
	if got, want := out.String(), clearLine+"gradients  20/80 rows  2.5 rows/s  24s left"+clearLine+"tokenising d  512 rows  1000 rows/s"; got != want {
		t.Errorf("%q, wanted %q", got, want)
	}
	out.Reset()
	log.Info("done")
	if got := out.String(); !strings.HasPrefix(got, clearLine+"time=") || strings.Contains(got, "tokenising") {
		t.Errorf("%q", got)
	}
	var pipe bytes.Buffer
	Logger(&pipe).Log(t.Context(), progress.Shown, "gradients", progress.Rows, 20, progress.Rate, 2.5)
	if pipe.Len() > 0 {
		t.Errorf("a pipe gets %q", pipe.String())
	}
}

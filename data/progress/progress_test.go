package progress

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestMeter: an ordinary log gets a line after ten seconds, one that shows progress a line
// every fifth of a second, with the rate and the remaining time: if 20 of 80 rows took 10
// seconds, the other 60 take 30.
func TestMeter(t *testing.T) {
	for _, c := range []struct {
		level slog.Level
		ago   time.Duration
		total int
		want  string
	}{
		{slog.LevelInfo, 10 * time.Second, 80, "level=INFO msg=scoring rows=20 of=80 rows_per_second=2 remaining=30s\n"},
		{slog.LevelInfo, 9 * time.Second, 80, ""},
		{Shown, time.Second, 40, "level=DEBUG+3 msg=scoring rows=20 of=40 rows_per_second=20 remaining=1s\n"},
		{Shown, time.Second, 0, "level=DEBUG+3 msg=scoring rows=20 rows_per_second=20\n"},
		{Shown, 100 * time.Millisecond, 80, ""},
	} {
		var out bytes.Buffer
		plain := func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			if a.Key == Rate { // some microseconds go by
				a.Value = slog.Int64Value(int64(a.Value.Float64() + 0.5))
			}
			return a
		}
		m := New(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: c.level, ReplaceAttr: plain})), "scoring", c.total)
		m.start, m.logged, m.shown = m.start.Add(-c.ago), m.logged.Add(-c.ago), m.shown.Add(-c.ago)
		m.Add(20)
		if out.String() != c.want {
			t.Errorf("%+v: %q", c, out.String())
		}
	}
	New(nil, "nobody", 1).Add(1)
	var resumed strings.Builder
	r := New(slog.New(slog.NewTextHandler(&resumed, nil)), "x", 100)
	r.start, r.logged = r.start.Add(-10*time.Second), r.logged.Add(-10*time.Second)
	r.Skip(70)
	r.Add(10)
	if !strings.Contains(resumed.String(), "rows=80 of=100 rows_per_second=1 remaining=20s") {
		t.Errorf("10 rows in 10 seconds after 70 of an earlier run: %q", resumed.String())
	}
	var out strings.Builder
	m := New(slog.New(slog.NewTextHandler(&out, nil)), "x", 2)
	m.start = m.start.Add(-time.Hour)
	m.Add(1)
	if out.Len() > 0 {
		t.Errorf("it has just begun: %q", out.String())
	}
}

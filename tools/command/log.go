package command

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"dataflex.dev/dataflex/data/display"
	"dataflex.dev/dataflex/data/progress"
)

// logFormat is the value of --log-format: the format of log lines and errors.
type logFormat string

const (
	textLog logFormat = "text"
	jsonLog logFormat = "json"
)

var format = textLog

// String is the format, for pflag.
func (f *logFormat) String() string { return string(*f) }

// Type is the name of the value in the help text.
func (f *logFormat) Type() string { return "text|json" }

// Set checks a value of the flag.
func (f *logFormat) Set(s string) error {
	if s != string(textLog) && s != string(jsonLog) {
		return fmt.Errorf("it is text or json")
	}
	*f = logFormat(s)
	return nil
}

// logFlag adds --log-format.
func logFlag(flags *pflag.FlagSet) {
	flags.Var(&format, "log-format", "how log lines are written on standard error: text, or json, one object a line")
}

// Logger writes plain lines, in colour on a terminal unless NO_COLOR is set, or JSON objects.
// Text from data and configurations is escaped so that it cannot control the terminal, and
// secrets are masked.
func Logger(w io.Writer) *slog.Logger {
	if format == jsonLog {
		return slog.New(clean{slog.NewJSONHandler(w, nil), nil})
	}
	plain := os.Getenv("NO_COLOR") != "" || !Terminal(w)
	s := screenOf(w)
	if s != nil {
		w = s
	}
	return slog.New(clean{tint.NewTextHandler(w, &tint.Options{Level: slog.LevelInfo, TimeFormat: "15:04:05", NoColor: plain}), s})
}

// clean passes records on with printable text and masked secrets. On a screen, the progress of
// a pass is shown in place instead of as a line.
type clean struct {
	slog.Handler
	screen *screen
}

// Handle implements slog.Handler.
func (h clean) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, display.Text(r.Message), r.PC)
	said := map[string]any{}
	r.Attrs(func(a slog.Attr) bool {
		said[a.Key] = a.Value.Any()
		out.AddAttrs(cleaned(a))
		return true
	})
	if _, ok := said[progress.Rate]; ok && h.screen != nil && r.Level <= slog.LevelInfo {
		h.screen.show(passLine(out.Message, said), true, true)
		return nil
	}
	return h.Handler.Handle(ctx, out)
}

// Enabled implements slog.Handler: only a screen takes the frequent progress records.
func (h clean) Enabled(ctx context.Context, l slog.Level) bool {
	return h.Handler.Enabled(ctx, l) || h.screen != nil && l == progress.Shown
}

// passLine describes the progress of a pass.
func passLine(what string, said map[string]any) string {
	line := fmt.Sprintf("%s  %v", what, said[progress.Rows])
	if total, ok := said[progress.Total]; ok {
		line += fmt.Sprintf("/%v", total)
	}
	line += fmt.Sprintf(" rows  %v rows/s", said[progress.Rate])
	if left, ok := said[progress.Remaining].(time.Duration); ok {
		line += "  " + short(left) + " left"
	}
	return line
}

// WithAttrs implements slog.Handler.
func (h clean) WithAttrs(attrs []slog.Attr) slog.Handler {
	for i := range attrs {
		attrs[i] = cleaned(attrs[i])
	}
	return clean{h.Handler.WithAttrs(attrs), h.screen}
}

// WithGroup implements slog.Handler.
func (h clean) WithGroup(name string) slog.Handler { return clean{h.Handler.WithGroup(name), h.screen} }

func cleaned(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindString:
		s := display.Printable(v.String())
		// The key says what the value is: api_key=… has to be masked as one text.
		if masked := display.Mask(a.Key + "=" + s); masked != a.Key+"="+s {
			s = masked[min(len(a.Key)+1, len(masked)):]
		}
		return slog.String(a.Key, s)
	case slog.KindDuration:
		if format == jsonLog {
			return slog.Float64(a.Key, v.Duration().Seconds())
		}
	case slog.KindGroup:
		var inner []any
		for _, g := range v.Group() {
			inner = append(inner, cleaned(g))
		}
		return slog.Group(a.Key, inner...)
	case slog.KindAny:
		switch x := v.Any().(type) {
		case error, fmt.Stringer:
			return slog.String(a.Key, display.Text(fmt.Sprint(x)))
		case []string, map[string]any, map[string]string, []any:
			if format == textLog {
				return slog.String(a.Key, display.Text(fmt.Sprint(x)))
			}
		}
	}
	return a
}

// Clean wraps w for text from data or configurations: control characters are escaped, secrets
// are masked. Every Write is processed separately.
func Clean(w io.Writer) io.Writer { return cleanWriter{w} }

type cleanWriter struct{ w io.Writer }

func (c cleanWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(c.w, display.Text(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Terminal reports whether w is one.
func Terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

package report

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// keepLines rewrites a file with the lines that keep accepts; a line that is not a complete
// JSON object is dropped. A missing file stays missing.
func keepLines(path string, keep func(line pyjson.Object) bool) error {
	raw, err := storage.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		if !strings.HasSuffix(line, "\n") {
			continue // truncated by a kill
		}
		if o, err := pyjson.DecodeObject([]byte(line)); err == nil && keep(o) {
			b.WriteString(line)
		}
	}
	if b.Len() == len(raw) {
		return nil
	}
	return storage.WriteFile(path, []byte(b.String()))
}

// stepOf reads the step of a log line; a line without one counts as new.
func stepOf(o pyjson.Object) int {
	for _, key := range []string{"current_steps", "step"} {
		if n, ok := o.Get(key).(int); ok {
			return n
		}
	}
	return math.MaxInt
}

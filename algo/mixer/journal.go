package mixer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// journal is a file in output_dir with one JSON object per line. A run continued from a
// checkpoint keeps the lines up to it; a fresh run starts an empty file.
type journal struct {
	name string
	dir  string // "" writes nothing
	last int    // step of the last line; -1 before the first
	open bool
}

func newJournal(name string) journal { return journal{name: name, last: -1} }

// write appends the line of a step: step, time, and the given fields.
func (j *journal) write(step int, fields pyjson.Object) error {
	if j.dir == "" {
		return nil
	}
	if err := j.trim(); err != nil {
		return err
	}
	line := pyjson.Object{{Key: "step", Value: step}, {Key: "timestamp", Value: time.Now().Format(time.DateTime)}}
	f, err := storage.OpenFile(j.path(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("%s: %w", j.name, err)
	}
	_, err = io.WriteString(f, pyjson.Encode(append(line, fields...), 0)+"\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: %w", j.name, err)
	}
	j.last = step
	return nil
}

// rewind discards the lines after the one of step last.
func (j *journal) rewind(last int) { j.last, j.open = last, false }

func (j *journal) path() string { return filepath.Join(j.dir, j.name) }

// trim removes, once, the lines that do not belong to this run: those after the last line
// recorded in the state of the checkpoint.
func (j *journal) trim() error {
	if j.open || j.dir == "" {
		return nil
	}
	j.open = true
	raw, err := storage.ReadFile(j.path())
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", j.name, err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(raw)) {
		var e struct {
			Step *int `json:"step"`
		}
		whole := strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &e) == nil
		if whole && e.Step != nil && *e.Step <= j.last {
			kept.WriteString(line)
		}
	}
	if kept.Len() == len(raw) {
		return nil
	}
	return storage.WriteFile(j.path(), []byte(kept.String()))
}

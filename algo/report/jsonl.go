package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"dataflex/model/checkpoint"
)

// keepLines rewrites a file with the lines that keep accepts; a missing file
// stays missing.
func keepLines(path string, keep func(line string) bool) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(raw)) {
		if strings.HasSuffix(line, "\n") && keep(line) {
			b.WriteString(line)
		}
	}
	if b.Len() == len(raw) {
		return nil
	}
	return checkpoint.WriteFile(path, []byte(b.String()))
}

// currentSteps reads the step of a log line; a line that is none counts as new.
func currentSteps(line string) int {
	var e struct {
		Current *int `json:"current_steps"`
		Step    *int `json:"step"`
	}
	switch {
	case json.Unmarshal([]byte(line), &e) != nil:
		return int(^uint(0) >> 1)
	case e.Current != nil:
		return *e.Current
	case e.Step != nil:
		return *e.Step
	}
	return int(^uint(0) >> 1)
}

package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/program"
	"dataflex.dev/dataflex/data/storage"
)

// Command is a user's program. It is started once per call, reads one JSON line per case from
// its standard input,
//
//	{"prompt":"…","reference":"…","answer":"…"}
//
// and writes one per case on its standard output, in order: {"reward": 0.5}. With Kept, the
// rewards that it wrote before it failed are kept, and it is asked for the others alone: a
// reward should depend on its own line only.
type Command struct {
	Args    []string
	Timeout time.Duration // for all cases of one call
	Stderr  func(line string)
	Kept    *Kept // of an interrupted attempt; nil keeps nothing
}

// Bytes that a reward program may write, in total and in addition for every answer.
const (
	scoreRoom = 1 << 16
	scoreLine = 4096
)

// Keep returns the same program, whose rewards are kept.
func (c Command) Keep(k *Kept) Reward {
	c.Kept = k
	return c
}

// Score runs the program. If it fails, is late, or sends an invalid answer, the error quotes
// its standard error.
func (c Command) Score(ctx context.Context, cases []Case) ([]float64, error) {
	out, err := c.score(ctx, cases)
	if err != nil {
		return nil, fmt.Errorf("reward program %s: %w", c.Args[0], err)
	}
	return out, nil
}

func (c Command) score(ctx context.Context, cases []Case) ([]float64, error) {
	lines := make([][]byte, len(cases))
	for i, q := range cases {
		line, err := json.Marshal(q)
		if err != nil {
			return nil, err
		}
		lines[i] = append(line, '\n')
	}
	names := c.Kept.questions(c.identity(), lines)
	var open []int // cases without a kept reward
	var in []byte
	rewards := make([]float64, len(cases))
	for i := range cases {
		if a, ok := c.Kept.find(names[i]); ok {
			rewards[i] = a.Points
			continue
		}
		open, in = append(open, i), append(in, lines[i]...)
	}
	if len(open) == 0 {
		return rewards, nil
	}
	most := scoreRoom + scoreLine*len(open)
	out, failure := program.Once(ctx, c.Args, in, c.Timeout, most, c.Stderr)
	scores, err := readScores(bytes.NewReader(out))
	if failure == nil && err == nil {
		err = check(scores, len(open))
	}
	// Of a program that failed count the rewards before it did; where it says that all went well
	// and the lines are wrong, it is not clear whose they are.
	if failure != nil && len(out) <= most && len(scores) <= len(open) || failure == nil && err == nil {
		answers := make([]keptAnswer, len(scores))
		for k, x := range scores {
			rewards[open[k]] = x
			answers[k] = keptAnswer{Question: names[open[k]], Points: x}
		}
		c.Kept.add(answers...)
	}
	if failure != nil {
		return nil, failure
	}
	return rewards, err
}

// hashedBytes is the size up to which a file is known by its content, and not by its size and
// time of change: beyond it is data such as a model's weights, which take minutes to read.
const hashedBytes = 64 << 20

// identity is the command and the content of the files that it names, so that no reward of a
// program that was changed since is used.
func (c Command) identity() string {
	if c.Kept == nil {
		return ""
	}
	parts := make([]string, 0, 2*len(c.Args))
	for i, arg := range c.Args {
		path := arg
		if i == 0 {
			if found, err := exec.LookPath(arg); err == nil {
				path = found
			}
		}
		parts = append(parts, arg, content(path))
	}
	return fmt.Sprintf("%q", parts)
}

// content is the hash of a file; size and time of change of one that is large, or that may be run
// and not read; empty for what is no file.
func content(path string) string {
	info, err := storage.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	if info.Size() <= hashedBytes {
		if sum, _, err := storage.SHA256(path); err == nil {
			return sum
		}
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}

func readScores(r io.Reader) ([]float64, error) {
	var scores []float64
	for dec := json.NewDecoder(r); ; {
		var line struct {
			Reward *float64 `json:"reward"`
		}
		switch err := dec.Decode(&line); {
		case errors.Is(err, io.EOF):
			return scores, nil
		case err != nil:
			return nil, fmt.Errorf(`line %d is not {"reward": number}: %w`, len(scores)+1, err)
		case line.Reward == nil:
			return nil, fmt.Errorf(`line %d has no "reward"`, len(scores)+1)
		}
		scores = append(scores, *line.Reward)
	}
}

// end is the end of a text, short enough for an error message.
func end(s string) string {
	const most = 400
	s = strings.TrimSpace(s)
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return s
}

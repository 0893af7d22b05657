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
)

// Command is a program of the user's. It is started once per call, reads one JSON
// line per case on its standard input,
//
//	{"prompt":"…","reference":"…","answer":"…"}
//
// and writes one per case on its standard output, in order: {"reward": 0.5}.
type Command struct {
	Args    []string
	Timeout time.Duration // for all cases of a call
	Stderr  func(line string)
}

// Score asks the program. That it fails, is late, or answers otherwise is an error
// with what it wrote on standard error.
func (c Command) Score(ctx context.Context, cases []Case) ([]float64, error) {
	if len(cases) == 0 {
		return nil, nil
	}
	var in, out, stderr bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, q := range cases {
		if err := enc.Encode(q); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &in, &out, &stderr
	err := cmd.Run()
	if c.Stderr != nil {
		for l := range strings.Lines(stderr.String()) {
			c.Stderr(strings.TrimRight(l, "\n"))
		}
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("reward program %s: no answer within %s", c.Args[0], c.Timeout)
	case err != nil:
		return nil, fmt.Errorf("reward program %s: %w; it said: %q", c.Args[0], err, end(stderr.String()))
	}
	scores, err := readScores(&out)
	if err == nil {
		err = check(scores, len(cases))
	}
	if err != nil {
		return nil, fmt.Errorf("reward program %s: %w", c.Args[0], err)
	}
	return scores, nil
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

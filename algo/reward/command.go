package reward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/program"
)

// Command is a user's program. It is started once per call, reads one JSON line per case from
// its standard input,
// line per case on its standard input,
//
//	{"prompt":"…","reference":"…","answer":"…"}
//
// and writes one per case on its standard output, in order: {"reward": 0.5}.
type Command struct {
	Args    []string
	Timeout time.Duration // for all cases of one call
	Stderr  func(line string)
}

// Bytes that a reward program may write, in total and in addition for every answer.
const (
	scoreRoom = 1 << 16
	scoreLine = 4096
)

// Score runs the program. If it fails, is late, or sends an invalid answer, the error quotes
// its standard error.
func (c Command) Score(ctx context.Context, cases []Case) ([]float64, error) {
	if len(cases) == 0 {
		return nil, nil
	}
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, q := range cases {
		if err := enc.Encode(q); err != nil {
			return nil, err
		}
	}
	out, err := program.Once(ctx, c.Args, in.Bytes(), c.Timeout, scoreRoom+scoreLine*len(cases), c.Stderr)
	if err == nil {
		var scores []float64
		if scores, err = readScores(bytes.NewReader(out)); err == nil {
			err = check(scores, len(cases))
		}
		if err == nil {
			return scores, nil
		}
	}
	return nil, fmt.Errorf("reward program %s: %w", c.Args[0], err)
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

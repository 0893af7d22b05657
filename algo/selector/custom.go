package selector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"dataflex/algo"
	"dataflex/algo/config"
	"dataflex/algo/feature"
)

func init() { algo.RegisterSelector("custom", newCustom) }

// custom asks the user's program. It is started for every selection, reads one
// JSON line on its standard input and writes one on its standard output:
//
//	{"step":4,"update":1,"num_samples":16,"rows":[{"index":0,"dataset":"d","row":0},…],"losses":[1.2,null,…]}
//	{"indices":[3,1,…],"scores":[0.9,…]}
//
// losses is there when `losses: true` is set; scores is optional, one per index.
// What it writes on standard error is logged. With no program configured it does
// what upstream's example does: rows 0 … n-1.
type custom struct {
	run     *algo.Run
	command []string
	losses  bool
	timeout time.Duration
	dir     string
}

func newCustom(run *algo.Run, _ algo.Mode, p *config.Params) (algo.Selector, error) {
	s := &custom{
		run: run, command: p.Strings("command", nil), losses: p.Bool("losses", false),
		timeout: time.Duration(p.Float("timeout", 600) * float64(time.Second)), dir: p.String("cache_dir", ""),
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	if s.timeout <= 0 {
		return nil, p.Wrap("timeout", fmt.Errorf("a timeout in seconds must be positive"))
	}
	if len(s.command) == 0 {
		run.Log.Info("selector custom has no `command`: it picks rows 0 … n-1, as upstream's example does")
	}
	return s, nil
}

func (s *custom) CacheDir() string { return s.dir }

func (s *custom) Reuse() bool { return false }

type customRow struct {
	Index   int    `json:"index"`
	Dataset string `json:"dataset"`
	Row     int    `json:"row"`
}

type customRequest struct {
	Step       int         `json:"step"`
	Update     int         `json:"update"`
	NumSamples int         `json:"num_samples"`
	Rows       []customRow `json:"rows"`
	Losses     []*float64  `json:"losses,omitempty"`
}

type customAnswer struct {
	Indices []int     `json:"indices"`
	Scores  []float64 `json:"scores"`
}

func (s *custom) Select(ctx context.Context, r algo.Request) (algo.Selection, error) {
	if len(s.command) == 0 {
		first := make([]int, r.N)
		for i := range first {
			first[i] = i
		}
		return algo.Selection{Indices: first}, nil
	}
	q := customRequest{Step: r.Step, Update: r.Update, NumSamples: r.N}
	for i, ex := range s.run.Train {
		q.Rows = append(q.Rows, customRow{Index: i, Dataset: ex.Dataset, Row: ex.Row})
	}
	sel := algo.Selection{}
	if s.losses {
		losses, err := feature.Losses(ctx, feature.Pass{Device: s.run.Device, Model: s.run.Model, Log: s.run.Log}, s.run.Train)
		if err != nil {
			return sel, err
		}
		sel.Scored = len(losses)
		q.Losses = nullable(losses)
	}
	answer, err := s.ask(ctx, q)
	if err != nil {
		return sel, fmt.Errorf("selector custom, program %s: %w", s.command[0], err)
	}
	sel.Indices = answer.Indices
	if len(answer.Scores) > 0 {
		sel.Metric = map[string][]float64{"score": answer.Scores}
	}
	return sel, s.check(answer, r)
}

func (s *custom) ask(ctx context.Context, q customRequest) (customAnswer, error) {
	line, err := json.Marshal(q)
	if err != nil {
		return customAnswer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.command[0], s.command[1:]...)
	cmd.WaitDelay = time.Second
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(line, '\n')), &out, &stderr
	err = cmd.Run()
	for l := range strings.Lines(stderr.String()) {
		s.run.Log.Info(strings.TrimRight(l, "\n"), "program", s.command[0])
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return customAnswer{}, fmt.Errorf("no answer within %s (raise `timeout`)", s.timeout)
	case err != nil:
		return customAnswer{}, fmt.Errorf("%w; it said: %q", err, tail(stderr.String()))
	}
	var a customAnswer
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		return a, fmt.Errorf(`standard output must be one line {"indices": […]}: %w; got %q`, err, tail(out.String()))
	}
	return a, nil
}

func (s *custom) check(a customAnswer, r algo.Request) error {
	switch {
	case len(a.Indices) != r.N:
		return fmt.Errorf("selector custom, program %s: %d indices for a window of %d", s.command[0], len(a.Indices), r.N)
	case len(a.Scores) > 0 && len(a.Scores) != len(a.Indices):
		return fmt.Errorf("selector custom, program %s: %d scores for %d indices", s.command[0], len(a.Scores), len(a.Indices))
	}
	for _, i := range a.Indices {
		if i < 0 || i >= len(s.run.Train) {
			return fmt.Errorf("selector custom, program %s: index %d, but the pool has rows 0 to %d", s.command[0], i, len(s.run.Train)-1)
		}
	}
	return nil
}

func nullable(x []float64) []*float64 {
	out := make([]*float64, len(x))
	for i := range x {
		if x[i] == x[i] {
			out[i] = &x[i]
		}
	}
	return out
}

// tail is the end of a program's output, short enough for an error message.
func tail(s string) string {
	const most = 400
	s = strings.TrimSpace(s)
	if len(s) > most {
		s = "…" + s[len(s)-most:]
	}
	return s
}

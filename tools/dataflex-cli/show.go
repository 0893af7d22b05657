package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/display"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/tools/command"
)

// shownRow is a line printed by `show --json`.
type shownRow struct {
	Dataset  string  `json:"dataset"`
	Row      int     `json:"row"`
	Text     string  `json:"text"`
	InputIDs []int32 `json:"input_ids"`
	Labels   []int32 `json:"labels"`
}

func showCommand() *cobra.Command {
	var rows string
	var asJSON bool
	c := command.TakesConfig(&cobra.Command{
		Use:   "show",
		Short: "Print what the model will see: every training row with its text, tokens and labels",
		Long:  "Print what the model will see, one object per training row. The model's weights are not read.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return show(cmd.Context(), args[0], args[1:], rows, asJSON)
		},
	})
	c.Flags().StringVar(&rows, "rows", "", "the range of rows to show, as in 0:8")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func show(ctx context.Context, file string, overrides []string, rows string, asJSON bool) error {
	c, err := config.Load(file, overrides)
	if err != nil {
		return err
	}
	d, err := train.LoadData(ctx, c, command.Logger(os.Stderr))
	if err != nil {
		return err
	}
	lo, hi, err := span(rows, len(d.Train))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(os.Stdout)
	for _, ex := range d.Train[lo:hi] {
		if err := ctx.Err(); err != nil {
			return errors.Join(err, w.Flush())
		}
		if asJSON {
			err = showJSON(w, d.Tokenizer, ex)
		} else {
			err = showText(w, d.Tokenizer, ex)
		}
		if err != nil {
			return err
		}
	}
	return w.Flush()
}

// span parses "lo:hi"; either may be missing.
func span(s string, n int) (lo, hi int, err error) {
	if s == "" {
		return 0, n, nil
	}
	a, b, ok := strings.Cut(s, ":")
	bad := fmt.Errorf("--rows %s: want FIRST:END, as in 0:8", s)
	if !ok {
		return 0, 0, bad
	}
	hi = n
	if a != "" {
		if lo, err = strconv.Atoi(a); err != nil || lo < 0 {
			return 0, 0, bad
		}
	}
	if b != "" {
		if hi, err = strconv.Atoi(b); err != nil || hi < lo {
			return 0, 0, bad
		}
	}
	return min(lo, n), min(hi, n), nil
}

func showJSON(w io.Writer, tok *tokenizer.Tokenizer, ex data.Example) error {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(shownRow{ex.Dataset, ex.Row, tok.Decode(ex.InputIDs, false), ex.InputIDs, ex.Labels}); err != nil {
		return err
	}
	// Python's splitlines takes NEL for the end of a line, which the encoder does not escape.
	_, err := w.Write(bytes.ReplaceAll(line.Bytes(), []byte("\u0085"), []byte(`\u0085`)))
	return err
}

// showText highlights the tokens that are trained on.
func showText(w io.Writer, tok *tokenizer.Tokenizer, ex data.Example) error {
	trained := 0
	var masked, learnt strings.Builder
	var run []int32
	flush := func(on bool) {
		text := tok.Decode(run, false)
		if on {
			learnt.WriteString(text)
		} else {
			masked.WriteString(text)
		}
		run = run[:0]
	}
	for i, id := range ex.InputIDs {
		on := ex.Labels[i] >= 0
		if on {
			trained++
		}
		if i > 0 && on != (ex.Labels[i-1] >= 0) {
			flush(!on)
		}
		run = append(run, id)
	}
	if n := len(ex.Labels); n > 0 {
		flush(ex.Labels[n-1] >= 0)
	}
	_, err := fmt.Fprintf(w, "--- %s row %d: %d tokens, %d trained on\n%s\n>>> trained on:\n%s\n",
		ex.Dataset, ex.Row, len(ex.InputIDs), trained, display.Printable(masked.String()), display.Printable(learnt.String()))
	return err
}

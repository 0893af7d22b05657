package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/predict"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/tools/command"
)

// generateOptions are generate's flags.
type generateOptions struct {
	speakOptions
	prompts []string
	stdin   bool
	output  string

	in       io.Reader
	out      io.Writer
	terminal bool // out is a terminal
}

func generateCommand() *cobra.Command {
	var o generateOptions
	c := command.TakesConfig(&cobra.Command{
		Use:   "generate",
		Short: "Answer prompts, or the rows of a data set, with a model",
		Long: "Answers every --prompt, or with --stdin every line of standard input, or else the rows of eval_dataset (dataset where there is\n" +
			"none), with model_name_or_path and the adapters of adapter_name_or_path. Prompts are formatted by template. The keys do_sample,\n" +
			"temperature, top_p, top_k, repetition_penalty, max_new_tokens and seed control generation. Writes a line of JSON for each, {\"prompt\", \"predict\",\n" +
			"\"label\"}, as LLaMA-Factory's generated_predictions.jsonl has it; on a terminal, the answer to a single prompt is shown as it is generated.",
		Example: `  dataflex-cli generate config.yaml --prompt "Name three colours." do_sample=false
  dataflex-cli generate config.yaml --stdin max_new_tokens=64 < prompts.txt > answers.jsonl
  dataflex-cli generate config.yaml eval_dataset=everyday_eval --output answers.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.in, o.out, o.terminal = untilDone(cmd.Context(), os.Stdin), os.Stdout, command.Terminal(os.Stdout)
			return generateText(cmd.Context(), args[0], args[1:], o)
		},
	})
	c.Flags().StringArrayVar(&o.prompts, "prompt", nil, "prompt to answer; may be given several times")
	c.Flags().BoolVar(&o.stdin, "stdin", false, "answer the non-empty lines of standard input")
	c.Flags().StringVar(&o.output, "output", "", "file to which the answers are written when all are done, instead of standard output")
	o.flags(c)
	return c
}

func generateText(ctx context.Context, file string, overrides []string, o generateOptions) (err error) {
	c, err := config.LoadGenerate(file, overrides)
	if err != nil {
		return err
	}
	s, err := newSpeaker(c, o.speakOptions)
	if err != nil {
		return err
	}
	defer s.Close()
	rows, err := o.rows(ctx, s)
	if err != nil {
		return err
	}
	dev, err := train.OpenDevice(o.device, command.Logger(os.Stderr))
	if err != nil {
		return err
	}
	defer train.CloseDevice(dev, &err)
	if err := s.load(dev); err != nil {
		return err
	}
	if len(rows) == 1 && o.typed() && o.terminal && o.output == "" {
		_, err := s.stream(ctx, rows, printable{o.out})
		return err
	}
	var all bytes.Buffer
	out := o.out
	if o.output != "" {
		out = &all
	}
	err = s.answer(ctx, rows, nil, func(a predict.Answer) error {
		_, err := io.WriteString(out, a.Line())
		return err
	})
	if err != nil || o.output == "" {
		return err
	}
	return storage.WriteFile(o.output, all.Bytes())
}

// typed reports whether prompts come from the command line or standard input.
func (o generateOptions) typed() bool { return len(o.prompts) > 0 || o.stdin }

// rows are the prompts to answer.
func (o generateOptions) rows(ctx context.Context, s *speaker) ([]predict.Row, error) {
	c := s.config
	prompts, from := o.prompts, "--prompt"
	switch {
	case o.stdin && len(prompts) > 0:
		return nil, errors.New("--prompt and --stdin both give prompts: leave one out")
	case o.stdin:
		raw, err := io.ReadAll(o.in)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		for line := range strings.Lines(string(raw)) {
			if line = strings.TrimRight(line, "\r\n"); strings.TrimSpace(line) != "" {
				prompts = append(prompts, line)
			}
		}
		if from = "standard input"; len(prompts) == 0 {
			return nil, errors.New("standard input has no prompt: one per line is expected")
		}
	case len(prompts) == 0 && len(c.Data.EvalDataset)+len(c.Data.Dataset) == 0:
		return nil, fmt.Errorf("%s: there is nothing to answer: give --prompt TEXT or --stdin, or set eval_dataset", c.File)
	case len(prompts) == 0 && (o.system != "" || o.tools != ""):
		return nil, errors.New("--system and --tools only apply to --prompt and --stdin: a data set's rows have their own, and default_system is for those without one")
	case len(prompts) == 0:
		rows, warnings, err := predict.Rows(ctx, c, s.encode(c.Data.CutoffLen))
		for _, w := range warnings {
			command.Logger(os.Stderr).Warn(w)
		}
		return rows, err
	}
	var rows []predict.Row
	for i, p := range prompts {
		r, err := s.row([]data.Message{{Role: data.User, Content: p}})
		if err != nil {
			return nil, fmt.Errorf("%s, prompt %d: %w", from, i+1, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// stream writes the answer to the only row as it is generated, and returns it.
func (s *speaker) stream(ctx context.Context, rows []predict.Row, w io.Writer) (answer string, err error) {
	out := stream{w: w, stop: s.o.stop}
	err = s.answer(ctx, rows, out.grow, func(a predict.Answer) error {
		answer = a.Predict
		return out.finish(answer)
	})
	if ctx.Err() != nil {
		_, _ = io.WriteString(w, "\n") // a message about the interruption starts on a new line
	}
	return answer, err
}

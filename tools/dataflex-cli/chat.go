package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/predict"
	"dataflex.dev/dataflex/algo/train"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/tools/command"
)

func chatCommand() *cobra.Command {
	var o speakOptions
	c := command.TakesConfig(&cobra.Command{
		Use:   "chat",
		Short: "Talk to a model",
		Long: "Reads a line, answers it and remembers both, with model_name_or_path, the adapters of adapter_name_or_path and the keys of generate.\n" +
			"/clear forgets the conversation, /exit or the end of the input ends it, and so does Ctrl-C, also within an answer. Through a pipe\n" +
			"nothing but the answers is written.",
		Example: `  dataflex-cli chat config.yaml
  dataflex-cli chat model_name_or_path=less_output template=qwen --system "You answer in one sentence."`,
		RunE: func(cmd *cobra.Command, args []string) error {
			talk := conversation{in: untilDone(cmd.Context(), os.Stdin), out: os.Stdout}
			if command.Terminal(os.Stdin) && command.Terminal(os.Stdout) {
				talk.out, talk.you, talk.model = printable{os.Stdout}, "\nYou: ", "Model: "
			}
			return chat(cmd.Context(), args[0], args[1:], o, talk)
		},
	})
	o.flags(c)
	return c
}

func chat(ctx context.Context, file string, overrides []string, o speakOptions, talk conversation) (err error) {
	c, err := config.LoadGenerate(file, overrides)
	if err != nil {
		return err
	}
	if talk.speaker, err = newSpeaker(c, o); err != nil {
		return err
	}
	defer talk.Close()
	dev, err := train.OpenDevice(o.device, command.Logger(os.Stderr))
	if err != nil {
		return err
	}
	defer train.CloseDevice(dev, &err)
	if err := talk.load(dev); err != nil {
		return err
	}
	if talk.you != "" {
		if _, err := fmt.Fprintf(talk.out, "Talking to %s: /clear forgets the conversation, /exit ends it.\n", c.Model.Name); err != nil {
			return err
		}
	}
	return talk.run(ctx)
}

// conversation is a dialogue between a person, or a program, and a model.
type conversation struct {
	*speaker
	in         io.Reader
	out        io.Writer
	you, model string // printed before a line is read and before an answer; "" for a pipe
	history    []data.Message
}

func (c *conversation) run(ctx context.Context) error {
	lines := bufio.NewReader(c.in)
	for {
		if _, err := io.WriteString(c.out, c.you); err != nil {
			return err
		}
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return fmt.Errorf("standard input: %w", err)
		}
		ended := err == io.EOF
		switch text := strings.TrimSpace(line); {
		case text == "/exit":
			return nil
		case text == "/clear":
			c.history = nil
		case text != "":
			if err := c.turn(ctx, strings.TrimRight(line, "\r\n")); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}

// turn answers one line.
func (c *conversation) turn(ctx context.Context, text string) error {
	c.history = append(c.history, data.Message{Role: data.User, Content: text})
	row, err := c.row(c.history)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c.out, c.model); err != nil {
		return err
	}
	answer, err := c.stream(ctx, []predict.Row{row}, c.out)
	c.history = append(c.history, data.Message{Role: data.Assistant, Content: answer})
	return err
}

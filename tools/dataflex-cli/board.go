package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report/board"
	"dataflex.dev/dataflex/tools/command"
)

func boardCommand() *cobra.Command {
	var port int
	c := &cobra.Command{
		Use:     "board [DIR]",
		Aliases: []string{"webui"}, // LLaMA-Factory's name
		Short:   "Show the report of every run of a folder in the browser, live; start and stop runs there",
		Long: "Serves, on this machine only, the report page of every run below DIR (saves, or the current folder), and follows the runs as they\n" +
			"train. A run that is started there is a separate process, as if started from a shell: it continues when the board ends (Ctrl-C), and the\n" +
			"next board finds it. Your runs on this machine that were started elsewhere can be stopped there, too. The address contains a secret:\n" +
			"whoever has it may do what you may. Use ssh -L to reach the board from another machine.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if info, err := os.Stat("saves"); err == nil && info.IsDir() {
				dir = "saves"
			}
			if len(args) > 0 {
				dir = args[0]
			}
			return serveBoard(cmd.Context(), dir, port)
		},
	}
	c.Flags().IntVar(&port, "port", 0, "the port of 127.0.0.1 (default a free one)")
	return c
}

func serveBoard(ctx context.Context, dir string, port int) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("board: %w", err)
	}
	own, err := os.UserConfigDir()
	if err != nil {
		return fmt.Errorf("board: the address's secret cannot be stored: %w", err)
	}
	b, err := board.Open(board.Options{
		Dir: dir, Port: port, Home: filepath.Join(own, "dataflex", "board"), Program: []string{program, "train"},
		Check: checkFile, Log: command.Logger(os.Stderr),
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Println(b.Address); err != nil {
		return err
	}
	if err := b.Serve(ctx); err != nil {
		return err
	}
	if names := b.Running(); len(names) > 0 {
		fmt.Fprintf(command.Clean(os.Stderr), "the board has ended; these runs continue: %s\n", strings.Join(names, ", "))
	}
	return nil
}

// checkFile is dataflex-cli check, as called by the board.
func checkFile(ctx context.Context, file string) (faults []error, notices []string) {
	var said bytes.Buffer
	faults = check(ctx, config.Load, file, nil, command.Clean(&said))
	for line := range strings.Lines(said.String()) {
		notices = append(notices, strings.TrimRight(line, "\n"))
	}
	return faults, notices
}

package program

import (
	"errors"
	"log/slog"
	"time"

	"dataflex.dev/dataflex/algo/config"
)

// FromParams returns the program that a component's parameters name: `command`, and `timeout` in
// seconds for each answer. It returns nil for a component without a command, and an error that
// names the key if a value is wrong or the program cannot be run.
func FromParams(p *config.Params, log *slog.Logger) (*Program, error) {
	command := p.Strings("command", nil)
	timeout := time.Duration(p.Float("timeout", 600) * float64(time.Second))
	if err := p.Err(); err != nil {
		return nil, err
	}
	if timeout <= 0 {
		return nil, p.Wrap("timeout", errors.New("a timeout in seconds must be positive"))
	}
	if len(command) == 0 {
		return nil, nil
	}
	if err := Find(command); err != nil {
		return nil, p.Wrap("command", err)
	}
	return New(command, timeout, log), nil
}

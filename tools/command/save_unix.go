//go:build unix

package command

import (
	"os"
	"os/signal"
	"syscall"
)

// saveRequests receives a value when the system requests a checkpoint by SIGUSR1, which SLURM's
// --signal=USR1@90 sends before the time limit. stop ends that.
func saveRequests() (requests <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}

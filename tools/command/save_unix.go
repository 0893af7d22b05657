//go:build unix

package command

import (
	"os"
	"os/signal"
	"syscall"
)

// saveRequests gets a value when the system asks for a checkpoint, with SIGUSR1:
// SLURM's --signal=USR1@90 sends it before the time is over. stop ends that.
func saveRequests() (requests <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGUSR1)
	return c, func() { signal.Stop(c) }
}

//go:build !unix

package command

import "os"

// saveRequests does nothing: there is no SIGUSR1 here.
func saveRequests() (requests <-chan os.Signal, stop func()) { return nil, func() {} }

//go:build !unix

package command

import "time"

// ProcessorTime is not known here.
func ProcessorTime() time.Duration { return 0 }

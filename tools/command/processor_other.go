//go:build !unix

package command

import "time"

// ProcessorTime is what this process has used of the processors so far: not known here.
func ProcessorTime() time.Duration { return 0 }

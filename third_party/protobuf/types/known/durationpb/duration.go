// Package durationpb declares a duration.
package durationpb

import "time"

// Duration is a length of time.
type Duration struct{}

// AsDuration is none.
func (*Duration) AsDuration() time.Duration { return 0 }

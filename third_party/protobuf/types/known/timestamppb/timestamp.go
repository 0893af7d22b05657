// Package timestamppb declares a point in time.
package timestamppb

import "time"

// Timestamp is a point in time.
type Timestamp struct{}

// AsTime is the zero time.
func (*Timestamp) AsTime() time.Time { return time.Time{} }

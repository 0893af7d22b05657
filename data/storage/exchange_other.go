//go:build !linux && !darwin

package storage

import "errors"

// exchange fails: this system has no such call.
func exchange(a, b string) error { return errors.ErrUnsupported }

//go:build !linux && !darwin

package storage

import "errors"

// exchange fails: there is no such call here.
func exchange(a, b string) error { return errors.ErrUnsupported }

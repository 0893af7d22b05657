//go:build amd64 && !linux

package simd

// mayUseTiles: only Linux is asked.
func mayUseTiles() bool { return false }

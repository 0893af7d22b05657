//go:build !linux

package cpu

// inHugePages does nothing on this system.
func inHugePages([]byte) {}

//go:build !linux

package cpu

// memoryBytes is not known on this system.
func memoryBytes() uint64 { return 0 }

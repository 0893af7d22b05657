//go:build !unix

package main

// processorTime is what this process has used of the processors, in seconds: not known
// here.
func processorTime() float64 { return 0 }

//go:build !amd64

package simd

func units() []string { return nil }

//go:build !amd64

package simd

func levels() []string { return []string{generic} }

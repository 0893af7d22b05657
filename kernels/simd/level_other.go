//go:build !amd64

package simd

func levels() []set { return []set{generic} }

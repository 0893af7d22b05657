//go:build !amd64

package sim

func fastest() arithmetic { return portable }

//go:build !amd64

package adamw

func stepBlock(p, g, m, v []float32, f factors) { stepPlain(p, g, m, v, f) }

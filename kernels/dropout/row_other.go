//go:build !amd64

package dropout

func (m mask) row(row uint32, src, dst []float32) { m.rowFrom(0, row, src, dst) }

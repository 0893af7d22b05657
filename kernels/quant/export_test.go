package quant

// SetMaxBand makes bands of at most that many bytes, until undo.
func SetMaxBand(bytes int) (undo func()) {
	was := maxBand
	maxBand = bytes
	return func() { maxBand = was }
}

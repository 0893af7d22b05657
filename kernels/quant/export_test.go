package quant

// SetMaxBand limits bands to that many bytes, until undo.
func SetMaxBand(bytes int) (undo func()) {
	was := maxBand
	maxBand = bytes
	return func() { maxBand = was }
}

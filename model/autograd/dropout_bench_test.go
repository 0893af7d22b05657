package autograd

import (
	"testing"

	"dataflex/driver"
	"dataflex/driver/cpu"
)

// BenchmarkDropout masks the input of SmolLM2-135M's down_proj on one thread.
func BenchmarkDropout(b *testing.B) {
	dev := cpu.New(1)
	defer dev.Close()
	const rows, cols = 512, 1536
	x, y := driver.FromHost(make([]float32, rows*cols)), driver.FromHost(make([]float32, rows*cols))
	b.SetBytes(4 * rows * cols)
	for b.Loop() {
		dropout(dev, maskKey{1, 2}, 0.1, rows, cols, x, y, false)
	}
}

package tensor

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
)

// float32s are numbers in float32.
type float32s struct {
	memory driver.Memory // none: a view
	data   driver.F32
}

func newFloat32s(dev driver.Device, shape []int) (weight, error) {
	m, err := dev.Alloc(4 * size(shape))
	if err != nil {
		return nil, err
	}
	return &float32s{m, driver.View[float32](m)}, nil
}

func (w *float32s) bytes() int             { return w.memory.Size() }
func (w *float32s) free(dev driver.Device) { release(dev, &w.memory) }

func (w *float32s) like(dev driver.Device, shape []int) (weight, error) {
	return newFloat32s(dev, shape)
}

func (w *float32s) sub(from int, shape []int) weight {
	return &float32s{data: w.data.Sub(from, from+size(shape))}
}

func (w *float32s) float32() driver.F32             { return w.data }
func (w *float32s) bf16() driver.Slice[driver.BF16] { return driver.Slice[driver.BF16]{} }

func (w *float32s) read(dev driver.Device) ([]float32, error) { return driver.Read(dev, w.data) }

func (w *float32s) load(dev driver.Device, src Source, _ *Buffer) error {
	return driver.Write(dev, w.data, src.Float32)
}

// Param.Data is these numbers: there is nothing to convert.
func (w *float32s) widen(driver.Device, driver.F32)  {}
func (w *float32s) narrow(driver.Device, driver.F32) {}
func (w *float32s) writable() error                  { return nil }

func (w *float32s) rows(dev driver.Device, ids []int32, out driver.F32, width int) {
	embed.Forward(dev, w.data, ids, out, width)
}

func (w *float32s) narrows() bool { return false }

func (w *float32s) multiply(dev driver.Device, tr gemm.Transpose, s shape, alpha float32, a Operand, beta float32, c gemm.F32) {
	gemm.Run(dev, tr, alpha, a.F32, gemm.Dense(w.data, s.rows, s.cols), beta, c)
}

func (w *float32s) multiplyLoRA(driver.Device, gemm.Transpose, shape, gemm.BF16, gemm.BF16, gemm.BF16, float32, gemm.F32) {
	panic("tensor: MultiplyLoRA of float32 weights")
}

func (w *float32s) left(dev driver.Device, s shape, b Operand, c gemm.F32) {
	gemm.Run(dev, gemm.NT, 1, gemm.Dense(w.data, s.rows, s.cols), b.F32, 0, c)
}

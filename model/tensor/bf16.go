package tensor

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
)

// bf16s are numbers in bf16, for tensor cores.
type bf16s struct {
	memory driver.Memory // none: a view
	data   driver.Slice[driver.BF16]
}

func newBF16s(dev driver.Device, shape []int) (weight, error) {
	m, err := dev.Alloc(2 * size(shape))
	if err != nil {
		return nil, err
	}
	return &bf16s{m, driver.View[driver.BF16](m)}, nil
}

func (w *bf16s) bytes() int             { return w.memory.Size() }
func (w *bf16s) free(dev driver.Device) { release(dev, &w.memory) }

func (w *bf16s) like(dev driver.Device, shape []int) (weight, error) { return newBF16s(dev, shape) }

func (w *bf16s) sub(from int, shape []int) weight {
	return &bf16s{data: w.data.Sub(from, from+size(shape))}
}

func (w *bf16s) float32() driver.F32             { return driver.F32{} }
func (w *bf16s) bf16() driver.Slice[driver.BF16] { return w.data }

func (w *bf16s) read(dev driver.Device) ([]float32, error) {
	half, err := driver.Read(dev, w.data)
	if err != nil {
		return nil, err
	}
	x := make([]float32, len(half))
	cast.WidenHost(half, x)
	return x, nil
}

func (w *bf16s) load(dev driver.Device, src Source, b *Buffer) error {
	if src.DType() == "BF16" {
		return driver.Write(dev, w.data, src.BF16)
	}
	return driver.Write(dev, w.data, func(half []driver.BF16) error {
		x := b.sized(len(half))
		if err := src.Float32(x); err != nil {
			return err
		}
		cast.NarrowHost(x, half)
		return nil
	})
}

func (w *bf16s) widen(dev driver.Device, x driver.F32)  { cast.Widen(dev, w.data, x) }
func (w *bf16s) narrow(dev driver.Device, x driver.F32) { cast.Narrow(dev, x, w.data) }
func (w *bf16s) writable() error                        { return nil }

func (w *bf16s) rows(dev driver.Device, ids []int32, out driver.F32, width int) {
	embed.ForwardBF16(dev, w.data, ids, out, width)
}

func (w *bf16s) narrows() bool { return true }

func (w *bf16s) matrix(s shape) gemm.BF16 { return gemm.Dense(w.data, s.rows, s.cols) }

func (w *bf16s) multiply(dev driver.Device, tr gemm.Transpose, s shape, alpha float32, a Operand, beta float32, c gemm.F32) {
	gemm.RunBF16(dev, tr, alpha, a.BF16, w.matrix(s), beta, c)
}

func (w *bf16s) multiplyLoRA(dev driver.Device, tr gemm.Transpose, s shape, a, u, l gemm.BF16, beta float32, c gemm.F32) {
	gemm.RunLoRABF16(dev, tr, a, w.matrix(s), u, l, beta, c)
}

func (w *bf16s) left(dev driver.Device, s shape, b Operand, c gemm.F32) {
	gemm.RunBF16(dev, gemm.NT, 1, w.matrix(s), b.BF16, 0, c)
}

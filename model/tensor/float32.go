package tensor

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
)

// float32s are weights in float32.
type float32s struct {
	memory driver.Memory // none for a view
	data   driver.F32

	packed driver.Memory // on the host, the memory of panels
	panels [2]*gemm.Packed
}

func newFloat32s(dev driver.Device, shape []int) (weight, error) {
	m, err := alloc(dev, 4*size(shape))
	if err != nil {
		return nil, err
	}
	return &float32s{memory: m, data: driver.View[float32](m)}, nil
}

func (w *float32s) needs(shape []int) int { return 4 * size(shape) }
func (w *float32s) place(m driver.Memory) { w.data = driver.View[float32](m) }

func (w *float32s) bytes() int      { return w.memory.Size() + w.packed.Size() }
func (w *float32s) packedSize() int { return w.packed.Size() }

func (w *float32s) free(dev driver.Device) {
	w.unpack(dev)
	release(dev, &w.memory)
}

// panelBytes is the size of the panels that pack makes of a matrix: NT and NN products use
// separate ones.
func (w *float32s) panelBytes(dev driver.Device, s shape) int {
	if w.memory.Size() == 0 || dev.Kind() != driver.CPU || !gemm.Packs() {
		return 0
	}
	return gemm.PackedBytes(s.cols, s.rows) + gemm.PackedBytes(s.rows, s.cols)
}

// pack implements packer.
func (w *float32s) pack(dev *cpu.Device, s shape) error {
	n := w.panelBytes(dev, s)
	if n == 0 || w.packed.Size() > 0 {
		return nil
	}
	var err error
	if w.packed, err = dev.Alloc(n); err != nil {
		return err
	}
	memory, first := driver.View[float32](w.packed), gemm.PackedBytes(s.cols, s.rows)/4
	matrix := gemm.Dense(w.data, s.rows, s.cols)
	w.panels[gemm.NT] = gemm.NewPacked(dev, gemm.NT, matrix, memory.Sub(0, first))
	w.panels[gemm.NN] = gemm.NewPacked(dev, gemm.NN, matrix, memory.Sub(first, n/4))
	return nil
}

func (w *float32s) unpack(dev driver.Device) {
	release(dev, &w.packed)
	w.panels = [2]*gemm.Packed{}
}

// packedFor returns the packed form for products tr on dev, if there is one.
func (w *float32s) packedFor(dev driver.Device, tr gemm.Transpose) (*cpu.Device, *gemm.Packed) {
	host, ok := dev.(*cpu.Device)
	if !ok {
		return nil, nil
	}
	return host, w.panels[tr]
}

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

// Param.Data is the same memory: there is nothing to convert.
func (w *float32s) widen(driver.Device, driver.F32)  {}
func (w *float32s) narrow(driver.Device, driver.F32) {}
func (w *float32s) writable() error                  { return nil }

func (w *float32s) rows(dev driver.Device, ids []int32, out driver.F32, width int) {
	embed.Forward(dev, w.data, ids, out, width)
}

func (w *float32s) narrows() bool { return false }

func (w *float32s) multiply(dev driver.Device, tr gemm.Transpose, s shape, alpha float32, a Operand, beta float32, c gemm.F32) {
	if host, packed := w.packedFor(dev, tr); packed != nil {
		gemm.RunPacked(host, tr, alpha, a.F32, packed, beta, c)
		return
	}
	gemm.Run(dev, tr, alpha, a.F32, gemm.Dense(w.data, s.rows, s.cols), beta, c)
}

func (w *float32s) multiplyLoRA(driver.Device, gemm.Transpose, shape, gemm.BF16, gemm.BF16, gemm.BF16, float32, gemm.F32) {
	panic("tensor: MultiplyLoRA of float32 weights")
}

func (w *float32s) left(dev driver.Device, s shape, b Operand, c gemm.F32) {
	gemm.Run(dev, gemm.NT, 1, gemm.Dense(w.data, s.rows, s.cols), b.F32, 0, c)
}

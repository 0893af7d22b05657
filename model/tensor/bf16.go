package tensor

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
	"dataflex.dev/dataflex/kernels/embed"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/simd"
)

// bf16s are weights in bf16, for devices with units for it.
type bf16s struct {
	memory driver.Memory // none for a view
	data   driver.Slice[driver.BF16]

	packed driver.Memory // on the host, the memory of panels
	panels [2]*gemm.Panels
}

func newBF16s(dev driver.Device, shape []int) (weight, error) {
	m, err := alloc(dev, 2*size(shape))
	if err != nil {
		return nil, err
	}
	return &bf16s{memory: m, data: driver.View[driver.BF16](m)}, nil
}

func (w *bf16s) needs(shape []int) int { return 2 * size(shape) }
func (w *bf16s) place(m driver.Memory) { w.data = driver.View[driver.BF16](m) }

func (w *bf16s) bytes() int      { return w.memory.Size() + w.packed.Size() }
func (w *bf16s) packedSize() int { return w.packed.Size() }

func (w *bf16s) free(dev driver.Device) {
	w.unpack(dev)
	release(dev, &w.memory)
}

// panelBytes is the size of the panels that pack makes of a matrix: NT and NN products use
// separate ones.
func (w *bf16s) panelBytes(dev driver.Device, s shape) int {
	if w.memory.Size() == 0 || dev.Kind() != driver.CPU || simd.Unit() == "" {
		return 0
	}
	return gemm.PanelBytes(s.cols, s.rows) + gemm.PanelBytes(s.rows, s.cols)
}

// pack packs the numbers for NT and NN products on the host, until they change.
func (w *bf16s) pack(dev *cpu.Device, s shape) error {
	n := w.panelBytes(dev, s)
	if n == 0 || w.packed.Size() > 0 {
		return nil
	}
	var err error
	if w.packed, err = dev.Alloc(n); err != nil {
		return err
	}
	memory, first := driver.View[uint32](w.packed), gemm.PanelBytes(s.cols, s.rows)/4
	w.panels[gemm.NT] = gemm.Pack(dev, gemm.NT, w.matrix(s), memory.Sub(0, first))
	w.panels[gemm.NN] = gemm.Pack(dev, gemm.NN, w.matrix(s), memory.Sub(first, n/4))
	return nil
}

func (w *bf16s) unpack(dev driver.Device) {
	release(dev, &w.packed)
	w.panels = [2]*gemm.Panels{}
}

// packedFor returns the panels for products tr on dev, if there are any.
func (w *bf16s) packedFor(dev driver.Device, tr gemm.Transpose) (*cpu.Device, *gemm.Panels) {
	host, ok := dev.(*cpu.Device)
	if !ok || w.panels[tr] == nil || simd.Unit() == "" {
		return nil, nil
	}
	return host, w.panels[tr]
}

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
	w.unpack(dev)
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

func (w *bf16s) widen(dev driver.Device, x driver.F32) { cast.Widen(dev, w.data, x) }
func (w *bf16s) writable() error                       { return nil }

func (w *bf16s) narrow(dev driver.Device, x driver.F32) {
	w.unpack(dev)
	cast.Narrow(dev, x, w.data)
}

func (w *bf16s) rows(dev driver.Device, ids []int32, out driver.F32, width int) {
	embed.ForwardBF16(dev, w.data, ids, out, width)
}

func (w *bf16s) narrows() bool { return true }

func (w *bf16s) matrix(s shape) gemm.BF16 { return gemm.Dense(w.data, s.rows, s.cols) }

func (w *bf16s) multiply(dev driver.Device, tr gemm.Transpose, s shape, alpha float32, a Operand, beta float32, c gemm.F32) {
	if host, panels := w.packedFor(dev, tr); panels != nil {
		gemm.RunPanels(host, tr, alpha, a.BF16, panels, beta, c)
		return
	}
	gemm.RunBF16(dev, tr, alpha, a.BF16, w.matrix(s), beta, c)
}

func (w *bf16s) multiplyLoRA(dev driver.Device, tr gemm.Transpose, s shape, a, u, l gemm.BF16, beta float32, c gemm.F32) {
	if host, panels := w.packedFor(dev, tr); panels != nil {
		gemm.RunLoRAPanels(host, tr, a, panels, u, l, beta, c)
		return
	}
	gemm.RunLoRABF16(dev, tr, a, w.matrix(s), u, l, beta, c)
}

func (w *bf16s) left(dev driver.Device, s shape, b Operand, c gemm.F32) {
	gemm.RunBF16(dev, gemm.NT, 1, w.matrix(s), b.BF16, 0, c)
}

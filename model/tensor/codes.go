package tensor

import (
	"fmt"
	"runtime"

	"dataflex.dev/dataflex/data/task"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/quant"
)

// codes are a matrix in 4 or 8 bits. Only Load writes to them: they cannot be trained, and
// no adapter is merged into them.
type codes struct {
	memory driver.Memory
	matrix quant.Matrix
	half   bool // products take bf16 factors
}

// NewCoded allocates a frozen matrix in codes on dev. With half its products take bf16
// factors, whose rows must be 16-byte aligned.
func NewCoded(dev driver.Device, f quant.Format, half bool, name string, rows, cols int) (*Param, error) {
	return newParam(dev, name, []int{rows, cols}, func(dev driver.Device, shape []int) (weight, error) {
		return newCodes(dev, f, half, shape)
	})
}

func newCodes(dev driver.Device, f quant.Format, half bool, shape []int) (weight, error) {
	w := &codes{matrix: quant.Matrix{Format: f, Rows: shape[0], Cols: shape[1]}, half: half}
	if dev == nil {
		return w, nil
	}
	var err error
	if w.memory, err = dev.Alloc(w.needs(shape)); err == nil {
		w.place(w.memory)
	}
	return w, err
}

func (w *codes) needs([]int) int { return w.matrix.Bytes(w.matrix.Rows, w.matrix.Cols) }
func (w *codes) place(m driver.Memory) {
	offset := w.matrix.Offset // which is not in the memory
	w.matrix = w.matrix.In(m, w.matrix.Rows, w.matrix.Cols)
	w.matrix.Offset = offset
}

// CodedSource is a Source that may have codes.
type CodedSource interface {
	Source
	// Codes returns the tensor's codes; ok is false if it is not in codes.
	Codes() (f quant.Format, p quant.Parts, ok bool, err error)
}

func (w *codes) bytes() int             { return w.memory.Size() }
func (w *codes) free(dev driver.Device) { release(dev, &w.memory) }

func (w *codes) like(dev driver.Device, shape []int) (weight, error) {
	return newCodes(dev, w.matrix.Format, w.half, shape)
}

func (w *codes) sub(int, []int) weight { panic("tensor: a view of a matrix in codes") }

func (w *codes) float32() driver.F32             { return driver.F32{} }
func (w *codes) bf16() driver.Slice[driver.BF16] { return driver.Slice[driver.BF16]{} }

func (w *codes) read(dev driver.Device) ([]float32, error) {
	p, err := w.matrix.Download(dev)
	if err != nil {
		return nil, err
	}
	return p.Decoded(w.matrix.Format, w.matrix.Rows, w.matrix.Cols), nil
}

func (w *codes) load(dev driver.Device, src Source, b *Buffer) error {
	if c, may := src.(CodedSource); may {
		f, p, ok, err := c.Codes()
		if err != nil {
			return err
		}
		if ok && f == w.matrix.Format {
			return w.matrix.Upload(dev, p)
		}
	}
	x := b.sized(w.matrix.Rows * w.matrix.Cols)
	if err := src.Float32(x); err != nil {
		return err
	}
	w.matrix.Encode(&b.parts, x, w.matrix.Rows, w.matrix.Cols, parallel(dev))
	return w.matrix.Upload(dev, b.parts)
}

// parallel runs a loop in parallel if dev is the host: on its threads.
func parallel(dev driver.Device) func(n int, f func(i int)) {
	if host, ok := dev.(*cpu.Device); ok {
		return host.Parallel
	}
	return func(n int, f func(i int)) {
		var g task.Group
		workers := runtime.GOMAXPROCS(0)
		for w := range workers {
			g.Go(func() {
				for i := w; i < n; i += workers {
					f(i)
				}
			})
		}
		g.Wait()
	}
}

func (w *codes) widen(dev driver.Device, x driver.F32) {
	rows, cols := w.matrix.Rows, w.matrix.Cols
	w.matrix.Decode(dev, 0, rows, 0, cols, gemm.Dense(x, rows, cols))
}

func (w *codes) narrow(driver.Device, driver.F32) { panic("tensor: writing to a matrix in codes") }

func (w *codes) writable() error {
	return fmt.Errorf("its weights are quantised (%v) and cannot be changed: use the model in bf16, fp16 or float32, without quantization_bit", w.matrix.Kind)
}

func (w *codes) rows(driver.Device, []int32, driver.F32, int) {
	panic("tensor: rows of a matrix in codes")
}

func (w *codes) narrows() bool { return w.half }

func (w *codes) multiply(dev driver.Device, tr gemm.Transpose, _ shape, alpha float32, a Operand, beta float32, c gemm.F32) {
	if w.half {
		w.matrix.MultiplyBF16(dev, tr, alpha, a.BF16, beta, c)
	} else {
		w.matrix.Multiply(dev, tr, alpha, a.F32, beta, c)
	}
}

func (w *codes) multiplyLoRA(dev driver.Device, tr gemm.Transpose, _ shape, a, u, l gemm.BF16, beta float32, c gemm.F32) {
	w.matrix.MultiplyLoRABF16(dev, tr, a, u, l, beta, c)
}

func (w *codes) left(dev driver.Device, _ shape, b Operand, c gemm.F32) {
	if w.half {
		w.matrix.MultiplyLeftBF16(dev, b.BF16, c)
	} else {
		w.matrix.MultiplyLeft(dev, b.F32, c)
	}
}

// Coded is the format of weights in codes; ok is false if p's are not in codes.
func (p *Param) Coded() (f quant.Format, ok bool) {
	if w, coded := p.weight.(*codes); coded {
		return w.matrix.Format, true
	}
	return f, false
}

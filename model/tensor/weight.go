package tensor

import (
	"errors"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/kernels/scratch"
)

// weight is a form in which a parameter's numbers are kept, with the products that use it.
type weight interface {
	bytes() int
	free(dev driver.Device)
	needs(shape []int) int // bytes of memory
	place(m driver.Memory) // puts the numbers in memory of somebody else
	like(dev driver.Device, shape []int) (weight, error)
	sub(from int, shape []int) weight // a view of part of the elements

	float32() driver.F32             // the numbers, if they are kept in float32
	bf16() driver.Slice[driver.BF16] // the numbers, if they are kept in bf16
	read(dev driver.Device) ([]float32, error)
	load(dev driver.Device, src Source, b *Buffer) error
	widen(dev driver.Device, x driver.F32)
	narrow(dev driver.Device, x driver.F32) // overwrites them with x
	writable() error                        // the reason why narrow and Write must not be called

	rows(dev driver.Device, ids []int32, out driver.F32, width int)

	// narrows reports whether factors of products are bf16.
	narrows() bool
	multiply(dev driver.Device, tr gemm.Transpose, w shape, alpha float32, a Operand, beta float32, c gemm.F32)
	multiplyLoRA(dev driver.Device, tr gemm.Transpose, w shape, a, u, l gemm.BF16, beta float32, c gemm.F32)
	left(dev driver.Device, w shape, b Operand, c gemm.F32)
}

// shape is that of a matrix.
type shape struct{ rows, cols int }

func (p *Param) shape() shape { return shape{p.Shape[0], p.Shape[1]} }

// Source provides numbers, in the forms in which they are stored.
type Source interface {
	DType() string // in safetensors' spelling
	Float32(dst []float32) error
	BF16(dst []driver.BF16) error // only for dtype BF16
}

// Buffer is host memory for converting numbers: as large as the largest parameter, for all
// that are loaded with it.
type Buffer struct {
	floats []float32
	parts  quant.Parts
}

// sized returns n floats of unspecified contents.
func (b *Buffer) sized(n int) []float32 {
	b.floats = scratch.Sized(b.floats, n)
	return b.floats
}

// filled is the source of Write.
type filled struct{ fill func([]float32) error }

func (f filled) DType() string               { return "F32" }
func (f filled) Float32(dst []float32) error { return f.fill(dst) }
func (f filled) BF16([]driver.BF16) error    { return errors.New("tensor: no bf16 numbers here") }

// Operand is a factor of a product with a weight: in float32, and in bf16 if the weight
// narrows its operands.
type Operand struct {
	F32  gemm.F32
	BF16 gemm.BF16
}

// Narrows reports whether products with p take their other factor in bf16. Their sums are
// float32.
func (p *Param) Narrows() bool { return p.weight.narrows() }

// Multiply is C = alpha A op(W) + beta C, NT or NN, as gemm.Run.
func (p *Param) Multiply(dev driver.Device, tr gemm.Transpose, alpha float32, a Operand, beta float32, c gemm.F32) {
	p.weight.multiply(dev, tr, p.shape(), alpha, a, beta, c)
}

// MultiplyLoRA is C = A op(W) + U op(L) + beta C, as gemm.RunLoRABF16, for a weight that
// narrows.
func (p *Param) MultiplyLoRA(dev driver.Device, tr gemm.Transpose, a, u, l gemm.BF16, beta float32, c gemm.F32) {
	p.weight.multiplyLoRA(dev, tr, p.shape(), a, u, l, beta, c)
}

// MultiplyLeft is C = W Bᵀ.
func (p *Param) MultiplyLeft(dev driver.Device, b Operand, c gemm.F32) {
	p.weight.left(dev, p.shape(), b, c)
}

// AddGradient adds dyᵀ x to the gradient, in the precision of p's products.
func (p *Param) AddGradient(dev driver.Device, dy, x Operand) {
	g := gemm.Dense(p.Grad, p.Shape[0], p.Shape[1])
	if p.Narrows() {
		gemm.RunBF16(dev, gemm.TN, 1, dy.BF16, x.BF16, 1, g)
	} else {
		gemm.Run(dev, gemm.TN, 1, dy.F32, x.F32, 1, g)
	}
}

// Rows overwrites out [len(ids), d] with rows of p [_, d].
func (p *Param) Rows(dev driver.Device, ids []int32, out driver.F32) {
	w := p.weight
	if !p.Data.IsNil() {
		w = &float32s{data: p.Data}
	}
	w.rows(dev, ids, out, p.Shape[1])
}

// BF16 returns the weights if products read them in bf16; otherwise nil.
func (p *Param) BF16() driver.Slice[driver.BF16] { return p.weight.bf16() }

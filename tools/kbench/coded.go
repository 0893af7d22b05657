package main

import (
	"math"
	"math/rand/v2"

	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/quant"
)

// few is a number of rows with which a product is bound by the reads of W.
const few = 16

// coded are what multiplies with weights in codes: QLoRA's products with a matrix of the MLP,
// in bf16, forward (NT) and by the input (NN), one of few rows, one in float32, and the
// matrix decoded by itself.
func coded(m model) []Case {
	nf4 := quant.Format{Kind: quant.NF4, Block: quant.DefaultBlock, Double: true}
	int8s := quant.Format{Kind: quant.Int8}
	return []Case{
		codedProduct(m, "nf4", nf4, gemm.NT, m.tokens, true),
		codedProduct(m, "nf4", nf4, gemm.NN, m.tokens, true),
		codedProduct(m, "nf4", nf4, gemm.NT, few, true),
		codedProduct(m, "nf4_f32", nf4, gemm.NT, m.tokens, false),
		codedProduct(m, "int8", int8s, gemm.NT, m.tokens, true),
		decodeCase(m, "nf4", nf4),
		decodeCase(m, "int8", int8s),
	}
}

// codedProduct is a product of rows of activations with a matrix of the MLP.
func codedProduct(m model, typ string, f quant.Format, tr gemm.Transpose, rows int, bf16 bool) Case {
	out, in := m.ffn, m.hidden
	n, k, op := out, in, "quant_nt"
	if tr == gemm.NN {
		n, k, op = in, out, "quant_nn"
	}
	d, label := dims("m n k", rows, n, k)
	factor, unit := 4, multiply
	if bf16 {
		factor, unit = 2, tensor
	}
	return Case{
		Op: op, Type: typ, Model: m.name, Label: label, Dims: d,
		Floor: Floor{
			Ops: 2 * float64(rows) * float64(n) * float64(k), Unit: unit,
			Bytes: float64(factor*rows*k) + float64(f.Bytes(out, in)) + 4*float64(rows*n),
		},
		setup: func(r *room) job {
			w, parts := r.codes(f, out, in)
			c := r.zeros(rows * n)
			product := func(at func(int) float64, share float64) output {
				return matrix("c", rows, n, r.floats(c), func(i, j int) expected {
					var t total
					for s := range k {
						e := j*in + s
						if tr == gemm.NN {
							e = s*in + j
						}
						t.add(at(i*k+s) * decoded(f, parts, e, in))
					}
					return t.rounded(share)
				})
			}
			if bf16 {
				a := r.half(rows*k, 1)
				return job{
					call: func() {
						w.MultiplyBF16(r.dev, tr, 1, gemm.Dense(a.Slice, rows, k), 0, gemm.Dense(c, rows, n))
					},
					outputs: []output{product(a.at, bf16Share+exactShare)}, again: true,
				}
			}
			a := r.normal(rows*k, 1)
			return job{
				call:    func() { w.Multiply(r.dev, tr, 1, gemm.Dense(a.Slice, rows, k), 0, gemm.Dense(c, rows, n)) },
				outputs: []output{product(a.at, exactShare)}, again: true,
			}
		},
	}
}

// codes is a weight of random codes, whose scales are near 1.
func (r *room) codes(f quant.Format, rows, cols int) (quant.Matrix, quant.Parts) {
	w := f.In(r.alloc(f.Bytes(rows, cols)), rows, cols)
	parts, err := w.Download(r.dev)
	must(err)
	parts = randomCodes(parts)
	must(w.Upload(r.dev, parts))
	return w, parts
}

// decodeCase is a matrix of the MLP from codes to bf16.
func decodeCase(m model, name string, f quant.Format) Case {
	rows, cols := m.ffn, m.hidden
	d, label := dims("rows cols", rows, cols)
	return memoryCase(m, "quant_decode", name, float64(f.Bytes(rows, cols))+2*float64(rows*cols), d, label, func(r *room) job {
		w, parts := r.codes(f, rows, cols)
		out := r.half(rows*cols, 1)
		return job{
			call: func() { w.DecodeBF16(r.dev, 0, rows, 0, cols, gemm.Dense(out.Slice, rows, cols)) },
			outputs: []output{vector("w", rows*cols, r.halves(out.Slice), func(i int) expected {
				v := decoded(f, parts, i, cols)
				return expected{v, (bf16Share + exactShare) * math.Abs(v)}
			})},
			again: true,
		}
	})
}

// randomCodes are parts of the same sizes.
func randomCodes(like quant.Parts) quant.Parts {
	r := rand.New(rand.NewPCG(1, 3))
	codes := func(n int) []uint8 {
		out := make([]uint8, n)
		for i := range out {
			out[i] = uint8(r.Uint32())
		}
		return out
	}
	scales := func(n int) []float32 {
		out := make([]float32, n)
		for i := range out {
			out[i] = 0.5 + r.Float32()
		}
		return out
	}
	return quant.Parts{
		Codes: codes(len(like.Codes)), AbsmaxCodes: codes(len(like.AbsmaxCodes)), Absmax: scales(len(like.Absmax)),
		Tables: scales(len(like.Tables)), Nested: scales(len(like.Nested)), Offset: 0.25,
	}
}

// decoded is element i: its code's number times its block's scale, which may be a code
// itself (Dettmers et al. 2023, section 3).
func decoded(f quant.Format, p quant.Parts, i, cols int) float64 {
	if f.Kind == quant.Int8 {
		return float64(int8(p.Codes[i])) * float64(p.Absmax[i/cols]) / 127
	}
	code := p.Codes[i/2] >> 4 // the first of two is the upper
	if i%2 == 1 {
		code = p.Codes[i/2] & 15
	}
	block := i / f.Block
	const table, nested = 16, 256 // numbers of a code, blocks that share a scale of scales
	scale := float64(p.Tables[table+int(p.AbsmaxCodes[block])])*float64(p.Nested[block/nested]) + float64(p.Offset)
	return float64(p.Tables[code]) * scale
}

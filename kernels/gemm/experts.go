package gemm

import (
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/dispatch"
)

// Programmer errors of the products of experts beside those of Run and RunBF16.
const (
	notExperts = "gemm: Experts are for another number of experts, or their matrices differ in shape"
	expertsTN  = "gemm: RunExperts of a TN product"
)

// Experts says which rows of a matrix belong to which of E experts: Offsets[e] to
// Offsets[e+1] to expert e. Both lists are on the device (router.Plan), so that nothing waits
// for the host.
type Experts struct {
	Offsets driver.I32 // [E+1]
	Tiles   driver.I32 // an expert and a first row for every tile of 128 rows; the expert of an entry that is not used is -1
}

// RunExperts is Run for the rows of every expert e with its own B, in one launch for up to 224
// experts:
//
//	C[rows of e] = alpha A[rows of e] op(B[e]) + beta C[rows of e]
//
// NN and NT. All B have the same shape. A row has the bits of Run's.
func RunExperts(dev driver.Device, tr Transpose, of Experts, alpha float32, a F32, b []F32, beta float32, c F32) {
	k := stepsOf(of, tr, a, b, beta, c)
	dispatch.Run(dev, "gemm.RunExperts", func(d *cpu.Device) {
		of.each(func(e, lo, hi int) { Run(d, tr, alpha, a.Sub(lo, hi), b[e], beta, c.Sub(lo, hi)) })
	}, func(d driver.Launcher) {
		of.runPTX(d, tr, newProduct(k, alpha, a, beta, c), b)
	})
}

// RunExpertsBF16 is RunExperts with A and B in bf16, as RunBF16, plus a branch of r more steps,
// as RunLoRABF16, unless u and l are nil:
//
//	C[rows of e] = alpha (A[rows of e] op(B[e]) + U[rows of e] op(L[e])) + beta C[rows of e]
//
// A row has the bits of a device's products with tensor cores of that expert alone: on Hopper
// mma.m16n8k16's, not wgmma's.
func RunExpertsBF16(dev driver.Device, tr Transpose, of Experts, alpha float32, a BF16, b []BF16, u BF16, l []BF16, beta float32, c F32) {
	p := bf16Problem{tr: tr, k: stepsOf(of, tr, a, b, beta, c), alpha: alpha, a: a, u: u, add: beta == 1, c: c}
	if !u.IsNil() {
		p.r = stepsOf(of, tr, u, l, beta, c)
		p.l = l[0]
	}
	checkAligned(a, u)
	checkAligned(b...)
	checkAligned(l...)
	dispatch.Run(dev, "gemm.RunExpertsBF16", func(d *cpu.Device) {
		of.each(func(e, lo, hi int) {
			var low, up BF16
			if p.r > 0 {
				low, up = u.Sub(lo, hi), l[e]
			}
			runBF16CPU(d, tr, alpha, p.k, p.r, a.Sub(lo, hi), b[e], low, up, nil, beta, c.Sub(lo, hi))
		})
	}, func(d driver.Launcher) {
		of.runBF16PTX(d, p, b, l)
	})
}

// AddExperts adds alpha A[rows of e]ᵀ B[rows of e] to every expert's C: the gradients of its
// weights, as Run adds TN products, and with their bits. The launches are those of RunExperts.
func AddExperts(dev driver.Device, of Experts, alpha float32, a, b F32, c []F32) {
	checkGradients(of, a, b, c)
	dispatch.Run(dev, "gemm.AddExperts", func(d *cpu.Device) {
		of.each(func(e, lo, hi int) { Run(d, TN, alpha, a.Sub(lo, hi), b.Sub(lo, hi), 1, c[e]) })
	}, func(d driver.Launcher) {
		of.addPTX(d, alpha, a, b, c)
	})
}

// AddExpertsBF16 is AddExperts with A and B in bf16, as RunBF16.
func AddExpertsBF16(dev driver.Device, of Experts, alpha float32, a, b BF16, c []F32) {
	checkGradients(of, a, b, c)
	checkAligned(a, b)
	dispatch.Run(dev, "gemm.AddExpertsBF16", func(d *cpu.Device) {
		of.each(func(e, lo, hi int) { RunBF16(d, TN, alpha, a.Sub(lo, hi), b.Sub(lo, hi), 1, c[e]) })
	}, func(d driver.Launcher) {
		of.addBF16PTX(d, alpha, a, b, c)
	})
}

// each calls f for every expert that has rows, on the host.
func (of Experts) each(f func(e, lo, hi int)) {
	offsets := of.Offsets.Host()
	for e := range offsets[1:] {
		if lo, hi := int(offsets[e]), int(offsets[e+1]); lo < hi {
			f(e, lo, hi)
		}
	}
}

// stepsOf panics where the matrices of RunExperts do not match, and returns the number of steps.
func stepsOf[T Element](of Experts, tr Transpose, a Matrix[T], b []Matrix[T], beta float32, c F32) (k int) {
	if tr == TN {
		panic(expertsTN)
	}
	of.count(len(b))
	for _, x := range b {
		if x.Rows != b[0].Rows || x.Cols != b[0].Cols || x.Ld != b[0].Ld {
			panic(notExperts)
		}
		k = depth(tr, a, x, beta, c)
	}
	return k
}

// checkGradients panics where the matrices of AddExperts do not match.
func checkGradients[T Element](of Experts, a, b Matrix[T], c []F32) {
	of.count(len(c))
	for _, x := range c {
		if x.Ld != c[0].Ld {
			panic(notExperts)
		}
		depth(TN, a, b, 1, x)
	}
}

// count panics unless the lists are for that many experts.
func (of Experts) count(n int) {
	if n == 0 || of.Offsets.Len() != n+1 || of.Tiles.Len()%2 != 0 {
		panic(notExperts)
	}
}

func checkAligned(list ...BF16) {
	for _, x := range list {
		if x.Data.Addr()%16 != 0 || x.Ld%8 != 0 {
			panic(unalignedBF16)
		}
	}
}

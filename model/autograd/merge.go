package autograd

import (
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
)

// MergeLoRA adds the adapter to the weight, W += s·B A, in float32, and scales the rows if the
// adapter is DoRA's. The adapter stays in place. It fails if a bf16 weight does not fit into
// memory in float32, and for a quantised weight.
func (l *Linear) MergeLoRA(dev driver.Device) error {
	err := l.Weight.Update(dev, func(w driver.F32) {
		a := l.LoRA
		gemm.Run(dev, gemm.NN, a.Scale, gemm.Dense(a.B.Data, l.Out, a.Rank), gemm.Dense(a.A.Data, a.Rank, l.In), 1, gemm.Dense(w, l.Out, l.In))
	})
	if err != nil || !l.dora() {
		return err
	}
	m, err := driver.Read(dev, l.LoRA.DoRA.Magnitude.Data)
	if err != nil {
		return err
	}
	w, err := l.Weight.Read(dev)
	if err != nil {
		return err
	}
	ScaleRows(w, m)
	return l.Weight.Upload(dev, w)
}

// ScaleRows scales the rows of w [len(m), cols] to the norms m, as merging a DoRA adapter does.
func ScaleRows(w, m []float32) {
	cols := len(w) / len(m)
	for o := range m {
		row := w[o*cols : (o+1)*cols]
		var squares float64
		for _, x := range row {
			squares += float64(x) * float64(x)
		}
		f := float32(float64(m[o]) / math.Sqrt(squares))
		for j := range row {
			row[j] *= f
		}
	}
}

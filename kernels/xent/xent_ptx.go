package xent

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/reduce"
)

//go:embed xent.sm80.ptx.br
var sm80 string

var family = ptx.New("xent", sm80)

// Parameters of the kernels of xent.cu; rowArguments are struct rows.
type (
	rowArguments struct {
		z, row, target, weight, loss uintptr
		ld                           int64
		vocab, gradient              int32
		scale, smoothing, softCap    float32
	}
	copyParameters struct {
		dst, src, row uintptr
		d             int32
	}
	clearParameters struct {
		x uintptr
		n uint64
	}
	capParameters struct {
		z       uintptr
		n       uint64
		softCap float32
	}
)

var (
	rowKernels = ptx.Declare[ptx.One[rowArguments]](family, "xent_rows", "xent_rows_capped")
	copies     = ptx.Declare[copyParameters](family, "xent_gather", "xent_scatter")
	clears     = ptx.Declare[clearParameters](family, "xent_clear")
	caps       = ptx.Declare[capParameters](family, "xent_cap")
)

// Scratch buffers; gemm has its own.
const (
	logitSlot = iota
	hiddenSlot
	gradientSlot
	onesSlot
)

var deviceLogits = 64 << 20 // 256 MiB of logits at a time; less in tests

// deviceRows is the number of rows whose logits are stored at a time: full tiles of the
// product, at least one.
func (p Params) deviceRows() int { return max(deviceLogits/p.Vocab&^127, 128) }

func elementwise(n int) driver.Config { return ptx.Grid(ptx.Blocks(n, 1024), 256) }

func runPTX(dev driver.Launcher, p Params, h, w driver.F32, targets []int32, weight, loss, dh, dw driver.F32) {
	q := ptx.On(dev)
	for _, x := range []driver.F32{loss, dh} {
		clears.Launch(q, "xent_clear", elementwise(x.Len()), &clearParameters{x.Addr(), uint64(x.Len())})
	}
	rows, hits := labelled(targets)
	for lo := 0; lo < len(rows); lo += p.deviceRows() {
		hi := min(len(rows), lo+p.deviceRows())
		p.blockPTX(dev, q, rows[lo:hi], hits[lo:hi], h, w, weight, loss, dh, dw)
	}
}

// blockPTX processes the given rows of h, whose targets are hits.
func (p Params) blockPTX(dev driver.Launcher, q *ptx.Queue, rows, hits []int32, h, w, weight, loss, dh, dw driver.F32) {
	n, hid, voc := len(rows), p.Hidden, p.Vocab
	ld := (voc + 3) &^ 3 // rows of logits are 16-byte aligned
	z, hs := q.Floats(logitSlot, n*ld), q.Floats(hiddenSlot, n*hid)
	row, target := ptx.Upload(q, rows), ptx.Upload(q, hits)
	copies.Launch(q, "xent_gather", ptx.Grid(n, 128), &copyParameters{hs.Addr(), h.Addr(), row, int32(hid)})
	gemm.Run(dev, gemm.NT, p.scale(), gemm.Dense(hs, n, hid), gemm.Dense(w, voc, hid), p.startPTX(dev, q, gemm.Strided(z, n, voc, ld)), gemm.Strided(z, n, voc, ld))
	kernel := "xent_rows"
	if p.SoftCap > 0 {
		kernel += "_capped"
	}
	rowKernels.Launch(q, kernel, ptx.Grid(n, 256), &ptx.One[rowArguments]{P: rowArguments{
		z: z.Addr(), row: row, target: target, weight: weight.Addr(), loss: loss.Addr(), ld: int64(ld), vocab: int32(voc),
		gradient: ptx.Flag(!dh.IsNil()), scale: p.scale(), smoothing: p.Smoothing, softCap: p.SoftCap,
	}})
	if dh.IsNil() {
		return
	}
	d := q.Floats(gradientSlot, n*hid)
	gemm.Run(dev, gemm.NN, 1, gemm.Strided(z, n, voc, ld), gemm.Dense(w, voc, hid), 0, gemm.Dense(d, n, hid))
	copies.Launch(q, "xent_scatter", ptx.Grid(n, 128), &copyParameters{dh.Addr(), d.Addr(), row, int32(hid)})
	if !dw.IsNil() {
		gemm.Run(dev, gemm.TN, 1, gemm.Strided(z, n, voc, ld), gemm.Dense(hs, n, hid), 1, gemm.Dense(dw, voc, hid))
	}
	if !p.DBias.IsNil() {
		gemm.Run(dev, gemm.NN, 1, gemm.Dense(ones(dev, q, n), 1, n), gemm.Strided(z, n, voc, ld), 1, gemm.Dense(p.DBias, 1, voc))
	}
}

// startPTX is startCPU: setting rows to the bias is a product of depth 1.
func (p Params) startPTX(dev driver.Launcher, q *ptx.Queue, z gemm.F32) (beta float32) {
	if p.Bias.IsNil() {
		return 0
	}
	gemm.Run(dev, gemm.NN, 1, gemm.Dense(ones(dev, q, z.Rows), z.Rows, 1), gemm.Dense(p.Bias, 1, p.Vocab), 0, z)
	return 1
}

func ones(dev driver.Launcher, q *ptx.Queue, n int) driver.F32 {
	x := q.Floats(onesSlot, n)
	reduce.Fill(dev, 1, x)
	return x
}

func logitsPTX(dev driver.Launcher, p Params, h, w, z driver.F32) {
	rows := gemm.Dense(z, p.Rows, p.Vocab)
	gemm.Run(dev, gemm.NT, p.scale(), gemm.Dense(h, p.Rows, p.Hidden), gemm.Dense(w, p.Vocab, p.Hidden), p.startPTX(dev, ptx.On(dev), rows), rows)
	p.capPTX(dev, z)
}

func (p Params) capPTX(dev driver.Launcher, z driver.F32) {
	if p.SoftCap > 0 {
		caps.Launch(ptx.On(dev), "xent_cap", elementwise(z.Len()), &capParameters{z.Addr(), uint64(z.Len()), p.SoftCap})
	}
}

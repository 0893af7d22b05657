package xent

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed xent.sm80.ptx
var sm80 string

var family = ptx.New("xent", sm80)

// Scratch buffers; gemm has its own.
const (
	logitSlot = iota
	hiddenSlot
	gradientSlot
)

var deviceLogits = 64 << 20 // 256 MiB of logits at a time; tests take less

// deviceRows is the number of rows whose logits are held at once: full tiles of the
// product, at least one.
func (p Params) deviceRows() int { return max(deviceLogits/p.Vocab&^127, 128) }

func elementwise(n int) driver.Config { return ptx.Grid(ptx.Blocks(n, 1024), 256) }

func runPTX(dev driver.Launcher, p Params, h, w driver.F32, targets []int32, weight, loss, dh, dw driver.F32) {
	q := ptx.On(dev)
	for _, x := range []driver.F32{loss, dh} {
		q.Launch(family, "xent_clear", elementwise(x.Len()), q.Args().Addr(x.Addr()).U64(uint64(x.Len())))
	}
	rows, hits := labelled(targets)
	for lo := 0; lo < len(rows); lo += p.deviceRows() {
		hi := min(len(rows), lo+p.deviceRows())
		p.blockPTX(dev, q, rows[lo:hi], hits[lo:hi], h, w, weight, loss, dh, dw)
	}
}

// blockPTX handles the given rows of h, whose targets are hits.
func (p Params) blockPTX(dev driver.Launcher, q *ptx.Queue, rows, hits []int32, h, w, weight, loss, dh, dw driver.F32) {
	n, hid, voc := len(rows), p.Hidden, p.Vocab
	ld := (voc + 3) &^ 3 // rows of logits begin on 16 bytes
	z, hs := q.Floats(logitSlot, n*ld), q.Floats(hiddenSlot, n*hid)
	row, target := ptx.Upload(q, rows), ptx.Upload(q, hits)
	q.Launch(family, "xent_gather", ptx.Grid(n, 128), q.Args().Addr(hs.Addr()).Addr(h.Addr()).Addr(row).I32(int32(hid)))
	gemm.Run(dev, gemm.NT, n, voc, hid, p.scale(), hs, hid, w, hid, 0, z, ld)
	kernel := "xent_rows"
	if p.SoftCap > 0 {
		kernel += "_capped"
	}
	q.Launch(family, kernel, ptx.Grid(n, 256), p.rowArgs(q, z, ld, row, target, weight, loss, !dh.IsNil()))
	if dh.IsNil() {
		return
	}
	d := q.Floats(gradientSlot, n*hid)
	gemm.Run(dev, gemm.NN, n, hid, voc, 1, z, ld, w, hid, 0, d, hid)
	q.Launch(family, "xent_scatter", ptx.Grid(n, 128), q.Args().Addr(dh.Addr()).Addr(d.Addr()).Addr(row).I32(int32(hid)))
	if !dw.IsNil() {
		gemm.Run(dev, gemm.TN, voc, hid, n, 1, z, ld, hs, hid, 1, dw, hid)
	}
}

// rowArgs packs struct rows of xent.cu.
func (p Params) rowArgs(q *ptx.Queue, z driver.F32, ld int, row, target uintptr, weight, loss driver.F32, gradient bool) *driver.Args {
	var b [72]byte
	for i, v := range [...]uint64{uint64(z.Addr()), uint64(row), uint64(target), uint64(weight.Addr()), uint64(loss.Addr()), uint64(ld)} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	binary.LittleEndian.PutUint32(b[48:], uint32(p.Vocab))
	if gradient {
		b[52] = 1
	}
	for i, v := range [...]float32{p.scale(), p.Smoothing, p.SoftCap} {
		binary.LittleEndian.PutUint32(b[56+4*i:], math.Float32bits(v))
	}
	return q.Args().Bytes(b[:], 8)
}

func logitsPTX(dev driver.Launcher, p Params, h, w, z driver.F32) {
	gemm.Run(dev, gemm.NT, p.Rows, p.Vocab, p.Hidden, p.scale(), h, p.Hidden, w, p.Hidden, 0, z, p.Vocab)
	p.capPTX(dev, z)
}

func (p Params) capPTX(dev driver.Launcher, z driver.F32) {
	if p.SoftCap > 0 {
		q := ptx.On(dev)
		q.Launch(family, "xent_cap", elementwise(z.Len()), q.Args().Addr(z.Addr()).U64(uint64(z.Len())).F32(p.SoftCap))
	}
}

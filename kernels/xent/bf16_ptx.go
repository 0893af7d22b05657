package xent

import (
	_ "embed"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx.br
var bf16SM80 string

//go:embed bf16.sm90a.ptx.br
var bf16SM90a string

var (
	bf16Family   = ptx.New("xent, bf16", bf16SM80)
	hopperFamily = ptx.New("xent, bf16 for Hopper", bf16SM90a)
)

// Parameters of the kernels of bf16.cu and bf16.sm90a.cu; headArguments are struct head of
// bf16.cuh, the others are named there as here.
type (
	headArguments struct {
		e, stats, hit, target                  uintptr
		rows, hidden, vocab, ld, rowLD, smooth int32
		scale, softCap                         float32
	}
	operands          struct{ h, w uintptr }
	tiles80Parameters struct {
		x operands
		p headArguments
	}
	tiles90Parameters struct {
		h, w driver.EncodedTensorMap
		p    headArguments
	}
	reduction struct {
		stats, hit, row, weight, loss, out uintptr
		rows, vocab, tiles, rowLD          int32
		scale, smoothing, softCap          float32
	}
	gradient struct {
		e, stats, row, target         uintptr
		rows, vocab, ld, rowLD, width int32
		softCap                       float32
	}
)

var (
	gathers    = ptx.Declare[copyParameters](bf16Family, "xent_bf16_gather")
	tiles80    = ptx.Declare[tiles80Parameters](bf16Family, "xent_bf16_logits", "xent_bf16_logits_capped")
	tiles90    = ptx.Declare[tiles90Parameters](hopperFamily, "xent_bf16_logits_256*")
	reductions = ptx.Declare[ptx.One[reduction]](bf16Family, "xent_bf16_losses")
	gradients  = ptx.Declare[ptx.One[gradient]](bf16Family, "xent_bf16_gradient*")
)

// Scratch buffers in addition to gradientSlot; gemm has its own.
const (
	exponentialSlot = logitSlot
	narrowSlot      = hiddenSlot
	statsSlot       = gradientSlot + 1
	rowSlot         = gradientSlot + 2
)

var deviceExponentials = 128 << 20 // 256 MiB of them at a time; less in tests

const (
	// Columns of a tile's sums.
	sm80Tile  = 128
	sm90aTile = 256

	sm90aShared = 4*(16<<10+32<<10) + 4*16 // the ring of bf16.sm90a.cu, two barriers per stage
)

// bf16Rows is the number of rows whose exponentials are stored at a time.
func (p Params) bf16Rows() int { return max(deviceExponentials/p.Vocab&^127, 128) }

func runBF16PTX(dev driver.Launcher, p Params, h, w driver.Slice[driver.BF16], targets []int32, weight, loss, dh, dw driver.F32) {
	q := ptx.On(dev)
	for _, x := range []driver.F32{loss, dh} {
		clears.Launch(q, "xent_clear", elementwise(x.Len()), &clearParameters{x.Addr(), uint64(x.Len())})
	}
	rows, hits := labelled(targets)
	for lo := 0; lo < len(rows); lo += p.bf16Rows() {
		hi := min(len(rows), lo+p.bf16Rows())
		b := p.newBlock(dev, rows[lo:hi], hits[lo:hi])
		b.gather(h)
		b.logits(w, !dh.IsNil())
		b.losses(weight, loss)
		if !dh.IsNil() {
			b.gradients(w, dh, dw)
		}
	}
}

// labelled lists the rows with a target, and the targets.
func labelled(targets []int32) (rows, hits []int32) {
	for t, y := range targets {
		if y >= 0 {
			rows, hits = append(rows, int32(t)), append(hits, y)
		}
	}
	return rows, hits
}

// block is the state of some labelled rows in bf16.cu.
type block struct {
	Params
	dev         driver.Launcher
	q           *ptx.Queue
	rows        int
	row, target uintptr // device tables [rows]
	h, e        driver.Slice[driver.BF16]
	ld          int // of e: rows are 16-byte aligned
	tile, tiles int // columns per tile, and the number of tiles
	rowLD       int // row stride of the tables of sums
	stats, hit  uintptr
	constants   uintptr // struct row_constants
}

func (p Params) newBlock(dev driver.Launcher, rows, hits []int32) *block {
	q := ptx.On(dev)
	b := &block{Params: p, dev: dev, q: q, rows: len(rows), ld: (p.Vocab + 7) &^ 7, tile: bf16Tile(dev)}
	b.tiles, b.rowLD = ptx.Blocks(p.Vocab, b.tile), (len(rows)+31)&^31
	b.row, b.target = ptx.Upload(q, rows), ptx.Upload(q, hits)
	b.h = half(q, narrowSlot, b.rows*p.Hidden)
	b.stats = q.Scratch(statsSlot, 4*3*b.tiles*b.rowLD)
	b.constants = q.Scratch(rowSlot, (16+4)*b.rowLD)
	b.hit = b.constants + uintptr(16*b.rowLD)
	return b
}

func bf16Tile(dev driver.Device) int {
	if ptx.Hopper(dev) {
		return sm90aTile
	}
	return sm80Tile
}

// half returns scratch memory of n bf16 numbers.
func half(q *ptx.Queue, slot, n int) driver.Slice[driver.BF16] {
	return driver.View[driver.BF16](driver.DeviceMemory(q.Scratch(slot, 2*n), 2*n))
}

func (b *block) gather(h driver.Slice[driver.BF16]) {
	gathers.Launch(b.q, "xent_bf16_gather", ptx.Grid(b.rows, 128), &copyParameters{b.h.Addr(), h.Addr(), b.row, int32(b.Hidden / 8)})
}

// variant is the name of a kernel with or without the cap.
func (b *block) variant(kernel string) string {
	if b.SoftCap > 0 {
		return kernel + "_capped"
	}
	return kernel
}

// logits computes the tiles' sums, the targets' logits and, if they are kept, the
// exponentials.
func (b *block) logits(w driver.Slice[driver.BF16], keep bool) {
	if keep {
		b.e = half(b.q, exponentialSlot, b.rows*b.ld)
	}
	p := headArguments{
		e: b.e.Addr(), stats: b.stats, hit: b.hit, target: b.target, rows: int32(b.rows), hidden: int32(b.Hidden), vocab: int32(b.Vocab),
		ld: int32(b.ld), rowLD: int32(b.rowLD), smooth: ptx.Flag(b.Smoothing > 0), scale: b.scale(), softCap: b.SoftCap,
	}
	down := ptx.Blocks(b.rows, 128)
	if b.tile == sm80Tile {
		x := operands{b.h.Addr(), w.Addr()}
		tiles80.Launch(b.q, b.variant("xent_bf16_logits"), ptx.Grid2(down, b.tiles, 256), &tiles80Parameters{x, p})
		return
	}
	h := b.q.Tiles(b.h.Addr(), b.rows, b.Hidden, b.Hidden, 128)
	c := ptx.Grid(min(b.dev.Attributes().Units, down*b.tiles), 384)
	c.Shared = sm90aShared
	tiles90.Launch(b.q, b.variant("xent_bf16_logits_256"), c, &tiles90Parameters{
		h: h, w: b.q.Tiles(w.Addr(), b.Vocab, b.Hidden, b.Hidden, sm90aTile), p: p,
	})
}

func (b *block) losses(weight, loss driver.F32) {
	reductions.Launch(b.q, "xent_bf16_losses", ptx.Grid(ptx.Blocks(b.rows, 32), 1024), &ptx.One[reduction]{P: reduction{
		stats: b.stats, hit: b.hit, row: b.row, weight: weight.Addr(), loss: loss.Addr(), out: b.constants,
		rows: int32(b.rows), vocab: int32(b.Vocab), tiles: int32(b.tiles), rowLD: int32(b.rowLD),
		scale: b.scale(), smoothing: b.Smoothing, softCap: b.SoftCap,
	}})
}

// gradients turns the exponentials into dz, and computes dh and dw from it.
func (b *block) gradients(w driver.Slice[driver.BF16], dh, dw driver.F32) {
	q, n, hid := b.q, b.rows, b.Hidden
	gradients.Launch(q, b.variant("xent_bf16_gradient"), ptx.Grid2(ptx.Blocks(n, 16), ptx.Blocks(b.ld, 512), 256), &ptx.One[gradient]{P: gradient{
		e: b.e.Addr(), stats: b.stats, row: b.constants, target: b.target, rows: int32(n), vocab: int32(b.Vocab), ld: int32(b.ld),
		rowLD: int32(b.rowLD), width: int32(b.tile), softCap: b.SoftCap,
	}})
	d := q.Floats(gradientSlot, n*hid)
	gemm.RunBF16(b.dev, gemm.NN, 1, gemm.Strided(b.e, n, b.Vocab, b.ld), gemm.Dense(w, b.Vocab, hid), 0, gemm.Dense(d, n, hid))
	copies.Launch(q, "xent_scatter", ptx.Grid(n, 128), &copyParameters{dh.Addr(), d.Addr(), b.row, int32(hid)})
	if !dw.IsNil() {
		gemm.RunBF16(b.dev, gemm.TN, 1, gemm.Strided(b.e, n, b.Vocab, b.ld), gemm.Dense(b.h, n, hid), 1, gemm.Dense(dw, b.Vocab, hid))
	}
}

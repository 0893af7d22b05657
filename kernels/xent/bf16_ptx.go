package xent

import (
	_ "embed"
	"encoding/binary"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/gemm"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed bf16.sm80.ptx
var bf16SM80 string

//go:embed bf16.sm90a.ptx
var bf16SM90a string

var (
	bf16Family   = ptx.New("xent, bf16", bf16SM80)
	hopperFamily = ptx.New("xent, bf16 for Hopper", bf16SM90a)
)

// Scratch buffers beside gradientSlot; gemm has its own.
const (
	exponentialSlot = logitSlot
	narrowSlot      = hiddenSlot
	statsSlot       = gradientSlot + 1
	rowSlot         = gradientSlot + 2
)

var deviceExponentials = 128 << 20 // 256 MiB of them at a time; tests take less

const (
	// Columns a tile's sums are of.
	sm80Tile  = 128
	sm90aTile = 256

	sm90aShared = 4*(16<<10+32<<10) + 4*16 // the ring of bf16.sm90a.cu, two barriers a stage
)

// bf16Rows is the number of rows whose exponentials are held at once.
func (p Params) bf16Rows() int { return max(deviceExponentials/p.Vocab&^127, 128) }

func runBF16PTX(dev driver.Launcher, p Params, h, w driver.Slice[driver.BF16], targets []int32, weight, loss, dh, dw driver.F32) {
	q := ptx.On(dev)
	for _, x := range []driver.F32{loss, dh} {
		q.Launch(family, "xent_clear", elementwise(x.Len()), q.Args().Addr(x.Addr()).U64(uint64(x.Len())))
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

// labelled lists the rows with a target, and those.
func labelled(targets []int32) (rows, hits []int32) {
	for t, y := range targets {
		if y >= 0 {
			rows, hits = append(rows, int32(t)), append(hits, y)
		}
	}
	return rows, hits
}

// block is some labelled rows on their way through bf16.cu.
type block struct {
	Params
	dev         driver.Launcher
	q           *ptx.Queue
	rows        int
	row, target uintptr // device tables [rows]
	h, e        driver.Slice[driver.BF16]
	ld          int // of e: rows begin on 16 bytes
	tile, tiles int // columns a tile has, and their number
	rowLD       int // rows as the tables of sums have them
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

// half is scratch memory of n bf16 numbers.
func half(q *ptx.Queue, slot, n int) driver.Slice[driver.BF16] {
	return driver.View[driver.BF16](driver.DeviceMemory(q.Scratch(slot, 2*n), 2*n))
}

func (b *block) gather(h driver.Slice[driver.BF16]) {
	b.q.Launch(bf16Family, "xent_bf16_gather", ptx.Grid(b.rows, 128),
		b.q.Args().Addr(b.h.Addr()).Addr(h.Addr()).Addr(b.row).I32(int32(b.Hidden/8)))
}

// variant names a kernel with or without the cap.
func (b *block) variant(kernel string) string {
	if b.SoftCap > 0 {
		return kernel + "_capped"
	}
	return kernel
}

// logits leaves the tiles' sums, the targets' logits and, if they are kept, the
// exponentials.
func (b *block) logits(w driver.Slice[driver.BF16], keep bool) {
	if keep {
		b.e = half(b.q, exponentialSlot, b.rows*b.ld)
	}
	smooth := 0
	if b.Smoothing > 0 {
		smooth = 1
	}
	p := structure{}.addr(b.e.Addr(), b.stats, b.hit, b.target).
		ints(b.rows, b.Hidden, b.Vocab, b.ld, b.rowLD, smooth).floats(b.scale(), b.SoftCap)
	down := ptx.Blocks(b.rows, 128)
	if b.tile == sm80Tile {
		x := structure{}.addr(b.h.Addr(), w.Addr())
		b.q.Launch(bf16Family, b.variant("xent_bf16_logits"), ptx.Grid2(down, b.tiles, 256), b.q.Args().Bytes(x, 8).Bytes(p.padded(), 8))
		return
	}
	h := b.q.Tiles(b.h.Addr(), b.rows, b.Hidden, b.Hidden, 128)
	c := ptx.Grid(min(b.dev.Attributes().Units, down*b.tiles), 384)
	c.Shared = sm90aShared
	b.q.Launch(hopperFamily, b.variant("xent_bf16_logits_256"), c,
		b.q.Args().TensorMap(h).TensorMap(b.q.Tiles(w.Addr(), b.Vocab, b.Hidden, b.Hidden, sm90aTile)).Bytes(p.padded(), 8))
}

func (b *block) losses(weight, loss driver.F32) {
	p := structure{}.addr(b.stats, b.hit, b.row, weight.Addr(), loss.Addr(), b.constants).
		ints(b.rows, b.Vocab, b.tiles, b.rowLD).floats(b.scale(), b.Smoothing, b.SoftCap)
	b.q.Launch(bf16Family, "xent_bf16_losses", ptx.Grid(ptx.Blocks(b.rows, 32), 1024), b.q.Args().Bytes(p.padded(), 8))
}

// gradients turns the exponentials into dz, and those into dh and dw.
func (b *block) gradients(w driver.Slice[driver.BF16], dh, dw driver.F32) {
	q, n, hid := b.q, b.rows, b.Hidden
	p := structure{}.addr(b.e.Addr(), b.stats, b.constants, b.target).
		ints(n, b.Vocab, b.ld, b.rowLD, b.tile).floats(b.SoftCap)
	q.Launch(bf16Family, b.variant("xent_bf16_gradient"), ptx.Grid2(ptx.Blocks(n, 16), ptx.Blocks(b.ld, 512), 256), q.Args().Bytes(p.padded(), 8))
	d := q.Floats(gradientSlot, n*hid)
	gemm.RunBF16(b.dev, gemm.NN, n, hid, b.Vocab, 1, b.e, b.ld, w, hid, 0, d, hid)
	q.Launch(family, "xent_scatter", ptx.Grid(n, 128), q.Args().Addr(dh.Addr()).Addr(d.Addr()).Addr(b.row).I32(int32(hid)))
	if !dw.IsNil() {
		gemm.RunBF16(b.dev, gemm.TN, b.Vocab, hid, n, 1, b.e, b.ld, b.h, hid, 1, dw, hid)
	}
}

// structure packs a parameter of a kernel: addresses first, as they are 8 bytes each.
type structure []byte

func (s structure) addr(v ...uintptr) structure {
	for _, x := range v {
		s = binary.LittleEndian.AppendUint64(s, uint64(x))
	}
	return s
}

func (s structure) ints(v ...int) structure {
	for _, x := range v {
		s = binary.LittleEndian.AppendUint32(s, uint32(x))
	}
	return s
}

func (s structure) floats(v ...float32) structure {
	for _, x := range v {
		s = binary.LittleEndian.AppendUint32(s, math.Float32bits(x))
	}
	return s
}

// padded is s as long as the compiler makes it.
func (s structure) padded() structure {
	if len(s)%8 != 0 {
		return s.ints(0)
	}
	return s
}

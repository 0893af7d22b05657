package gradproj

import (
	_ "embed"
	"math"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/philox"
	"dataflex.dev/dataflex/kernels/ptx"
)

//go:embed signs.sm80.ptx.br
var signs80 string

//go:embed signs.sm90a.ptx.br
var signs90 string

var (
	signs      = ptx.New("gradproj signs", signs80)
	signsWgmma = ptx.New("gradproj signs for Hopper", signs90)
)

// As in signs.cuh and signs.sm90a.cu.
const (
	signRows = 16384 // rows that are summed before the blocks are added up
	ring     = 8     // stages of 64 rows
)

// signsPTX multiplies the planes with R and adds the product to out.
func (p *Projection) signsPTX(dev driver.Launcher, b *deviceBlock) {
	q := ptx.On(dev)
	blocks := b.rowBlocks(signRows)
	partial := q.Scratch(partialSlot, 4*blocks*b.n*p.dim)
	product := p.signedProduct(b, partial)
	format, _, _ := p.target()
	product.launch(dev, format, blocks)
	p.addBlocks(q, b, partial, blocks, float32(1/math.Sqrt(float64(p.dim))))
}

func (p *Projection) signedProduct(b *deviceBlock, partial uintptr) signedProduct {
	return signedProduct{
		planes: b.gamma, partial: partial, first: int64(b.first), rows: int64(b.rows), plane: int64(b.capacity * b.rows),
		n: int32(b.n), dim: int32(p.dim), keys: p.keys.device(),
	}
}

// launch multiplies that many blocks of rows.
func (s signedProduct) launch(dev driver.Launcher, format string, blocks int) {
	if ptx.Hopper(dev) {
		s.hopper(ptx.On(dev), format, blocks)
	} else {
		s.ampere(ptx.On(dev), format, blocks)
	}
}

// ampere launches signs.cu: 256 columns and 64 samples a block.
func (s signedProduct) ampere(q *ptx.Queue, format string, blocks int) {
	group, suffix := 64, "_64"
	if s.n <= 16 {
		group, suffix = 16, "_16"
	}
	signProducts.Launch(q, "gradproj_signs_"+format+suffix, driver.Config{
		Grid:  driver.Dim{X: ptx.Blocks(int(s.dim), 256), Y: blocks, Z: ptx.Blocks(int(s.n), group)},
		Block: driver.Dim{X: 256},
	}, &ptx.One[signedProduct]{P: s})
}

// hopper launches signs.sm90a.cu: 512 columns and 64 samples a block, or 256 and 128.
func (s signedProduct) hopper(q *ptx.Queue, format string, blocks int) {
	group, suffix, planes := 64, "_64", 1
	switch {
	case format == "bf16x3":
		planes = 3
	case s.n > 64:
		group, suffix = 128, "_128"
	}
	// 64 rows of one plane of the samples: 128 bytes each.
	tiles := q.TensorMap(driver.TensorMap{
		Type: driver.TensorBF16, Addr: s.planes, Swizzle: 128,
		Dims:    []uint64{uint64(s.rows), uint64(s.n), uint64(planes)},
		Strides: []uint64{2 * uint64(s.rows), 2 * uint64(s.plane)},
		Box:     []uint32{64, uint32(group), 1},
	})
	wgmmaProducts.Launch(q, "gradproj_wgmma_"+format+suffix, driver.Config{
		Grid:   driver.Dim{X: ptx.Blocks(int(s.dim), 512*64/group), Y: blocks, Z: ptx.Blocks(int(s.n), group)},
		Block:  driver.Dim{X: 384},
		Shared: ring * (planes*group*128 + 16),
	}, &wgmmaParameters{tiles, s})
}

// signedProduct is struct signed_product of signs.cuh.
type signedProduct struct {
	planes, partial, table uintptr
	first, rows, plane     int64
	n, dim, block, pairs   int32
	keys                   philox.Keys
}

// wgmmaParameters are those of the kernels of signs.sm90a.cu.
type wgmmaParameters struct {
	tiles driver.EncodedTensorMap
	p     signedProduct
}

var (
	signProducts  = ptx.Declare[ptx.One[signedProduct]](signs, "gradproj_signs_*")
	wgmmaProducts = ptx.Declare[wgmmaParameters](signsWgmma, "gradproj_wgmma_*")
)

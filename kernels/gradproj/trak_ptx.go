package gradproj

import (
	"runtime"
	"sync"
	"sync/atomic"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
	"dataflex.dev/dataflex/kernels/scratch"
)

// trakPTX multiplies the planes with the source's signs. They are a table, 16384 rows
// of it at a time, in the layout of Philox's calls: 16 bytes are 64 rows of two columns.
func (p *Projection) trakPTX(dev driver.Launcher, b *deviceBlock) {
	q := ptx.On(dev)
	blocks := b.rowBlocks(signRows)
	partial := q.Scratch(partialSlot, 4*blocks*b.n*p.dim)
	format, _, _ := p.target()
	product := p.signedProduct(b, partial)
	pairs := ptx.Blocks(p.dim, 16) * 8
	product.pairs = int32(pairs)
	for block := range blocks {
		product.block = int32(block)
		begin := (b.first/signRows + block) * signRows
		from, until := max(begin, b.first), min(begin+signRows, b.first+b.rows)
		p.work.table = scratch.Sized(p.work.table, (until-from)/tileRows*pairs*16)
		p.signTable(b, from, until, pairs)
		product.table = q.Scratch(tableSlot, len(p.work.table))
		copyIn(dev, product.table, p.work.table)
		product.launch(dev, format, 1)
	}
	p.addBlocks(q, b, partial, blocks, 1)
}

// signTable asks the source for rows [from, until) of the gradient, as far as the block has
// them, and writes the workspace's table [tiles of 64 rows][pairs][16].
func (p *Projection) signTable(b *deviceBlock, from, until, pairs int) {
	clear(p.work.table)
	columns := ptx.Blocks(p.dim, sourceCols)
	workers := min(columns, runtime.GOMAXPROCS(0))
	var wait sync.WaitGroup
	var fault atomic.Pointer[any] // what the source panicked with, for the caller
	for w := range workers {
		wait.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					fault.CompareAndSwap(nil, &r)
				}
			}()
			words, group := make([]uint64, 2*tileRows), make([]byte, sourceCols)
			for block := w; block < columns; block += workers {
				for row := from; row < until; row += tileRows {
					lo, hi := max(row, b.offset), min(row+tileRows, b.offset+b.size)
					if lo >= hi {
						continue
					}
					clear(words)
					p.opt.Source.Signs(words[2*(lo-row):2*(hi-row)], block, lo, hi-lo)
					tile := p.work.table[(row-from)/tileRows*pairs*16:][:pairs*16]
					for g := range 8 {
						regroup(words[16*g:16*g+16], group)
						for c, bits := range group[:min(sourceCols, 2*pairs-block*sourceCols)] {
							column := block*sourceCols + c
							tile[(column/16*8+column%8)*16+2*g+column%16/8] = bits
						}
					}
				}
			}
		})
	}
	wait.Wait()
	if r := fault.Load(); r != nil {
		panic(*r)
	}
}

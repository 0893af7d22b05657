package gradproj

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/ptx"
)

// Rows stores the gradients γ of samples of several batches, in the form of the product's
// operand, so that each entry of R is generated once for all of them. On a GPU a product of
// fewer than 64 samples takes the time of generating R, and a backward pass often has eight.
// Its results have the bits of Accumulate's.
type Rows struct {
	p        *Projection
	dev      driver.Launcher
	capacity int
	count    int
	blocks   []collected   // in the order of their first Accumulate
	at       map[int]int   // offset: index in blocks
	norms    driver.Memory // [capacity] float64
}

// collected is one pair's part of all samples.
type collected struct {
	offset, size int
	mem          driver.Memory
}

// RowBytes is the device memory that one sample takes in Rows, or 0 where it is of no
// use: on a CPU, and without a matrix.
func (p *Projection) RowBytes(dev driver.Device) int {
	if dev.Kind() == driver.CPU {
		return 0
	}
	_, planes, bytes := p.target()
	return planes * bytes * p.total
}

// NewRows has room for that many samples; the memory is allocated when a pair first occurs.
// dev is one for which RowBytes is not 0.
func (p *Projection) NewRows(dev driver.Device, capacity int) (*Rows, error) {
	d, ok := dev.(driver.Launcher)
	if !ok || p.RowBytes(dev) == 0 || capacity < 1 {
		panic("gradproj.NewRows: " + string(p.kind) + " on " + dev.Kind().String() + " collects nothing")
	}
	r := &Rows{p: p, dev: d, capacity: capacity, at: map[int]int{}}
	var err error
	if r.norms, err = dev.Alloc(8 * capacity); err != nil {
		return nil, fmt.Errorf("gradproj: norms of %d samples: %w", capacity, err)
	}
	r.clear()
	return r, nil
}

func (r *Rows) clear() {
	r.count = 0
	copyIn(r.dev, r.norms.Addr(), make([]byte, 8*r.capacity))
}

// Capacity is how many samples there is room for, Len how many are there.
func (r *Rows) Capacity() int { return r.capacity }

// Len is how many samples are there.
func (r *Rows) Len() int { return r.count }

// Close frees the memory.
func (r *Rows) Close() {
	for _, b := range r.blocks {
		r.dev.Free(b.mem)
	}
	r.dev.Free(r.norms)
	r.blocks, r.at = nil, nil
}

// Accumulate keeps the pair's part of f's samples, which are the next after Len. Every pair
// of a batch is passed before Advance. The error is that of the memory, which the
// first batch takes.
func (r *Rows) Accumulate(f Factors, adam *Adam) error {
	n := f.check()
	if r.count+n > r.capacity {
		panic("gradproj.Rows: no room for the samples")
	}
	r.p.checkBlock(f.Offset, f.Size(), adam)
	if f.Size() == 0 {
		return nil
	}
	i, ok := r.at[f.Offset]
	b := r.p.deviceBlock(n, f.Size(), f.Offset, adam, driver.F32{})
	b.capacity = r.capacity
	_, planes, bytes := r.p.target()
	if !ok {
		mem, err := r.dev.Alloc(planes * bytes * r.capacity * b.rows)
		if err != nil {
			return fmt.Errorf("gradproj: gradients of %d samples: %w", r.capacity, err)
		}
		i = len(r.blocks)
		r.at[f.Offset] = i
		r.blocks = append(r.blocks, collected{f.Offset, f.Size(), mem})
	}
	if r.blocks[i].size != f.Size() {
		panic("gradproj.Rows: another block at the same offset")
	}
	b.gamma = r.blocks[i].mem.Addr() + uintptr(bytes*r.count*b.rows)
	r.p.formPTX(ptx.On(r.dev), &b, &f, r.norms.Addr()+uintptr(8*r.count))
	return nil
}

// Advance ends a batch of n samples.
func (r *Rows) Advance(n int) { r.count += n }

// Project adds the projections of all samples to out [Len, Dim] and the square norms of
// their γ to normSq [Len]; it leaves the rows empty.
func (r *Rows) Project(out driver.F32, normSq []float64) {
	if out.Len() != r.count*r.p.dim {
		panic(badOut)
	}
	if len(normSq) != r.count {
		panic(badNorm)
	}
	if r.count == 0 {
		return
	}
	for _, c := range r.blocks {
		b := r.p.deviceBlock(r.count, c.size, c.offset, nil, out)
		b.gamma, b.capacity = c.mem.Addr(), r.capacity
		r.p.multiplyPTX(r.dev, &b)
	}
	readNorms(ptx.On(r.dev), r.norms.Addr(), normSq)
	r.clear()
}

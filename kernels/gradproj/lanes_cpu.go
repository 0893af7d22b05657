package gradproj

import (
	"math"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/scratch"
	"dataflex.dev/dataflex/kernels/simd"
)

const (
	lanes    = 8    // samples per vector
	tileRows = 64   // rows of R that are drawn together; tiles begin at multiples of it in the gradient
	maxCols  = 4096 // columns per task: its sums, 128 KiB, stay in the second-level cache
)

// gradients holds elements offset … offset+size of the flattened gradients of n samples: data
// [n, size].
type gradients struct {
	data            []float32
	n, size, offset int
}

// groups returns how many vectors the samples fill.
func (g gradients) groups() int { return (g.n + lanes - 1) / lanes }

// tile writes the elements from row0 of the flattened gradient, of samples 8·group to 8·group+7,
// to dst, with zeros for elements and samples that g does not have.
func (g gradients) tile(group, row0 int, dst *[tileRows][lanes]float32) {
	rows := len(dst)
	lo, hi := max(row0, g.offset)-g.offset, min(row0+rows, g.offset+g.size)-g.offset
	head := g.offset + lo - row0
	whole := (hi - lo) &^ 7
	if g.n-group*lanes < lanes || hi-lo < rows {
		clear(dst[:])
	}
	var src [lanes][]float32
	for l := range src {
		i := group*lanes + l
		if i >= g.n {
			src[l] = zeros[:]
			continue
		}
		row := g.data[i*g.size+lo : i*g.size+hi]
		src[l] = row
		for j := whole; j < len(row); j++ {
			dst[head+j][l] = row[j]
		}
	}
	if whole > 0 {
		packRows(&src, whole, dst[head:])
	}
}

// zeros replaces the samples that a last group lacks.
var zeros [tileRows]float32

func packGeneric(src *[lanes][]float32, n int, dst [][lanes]float32) {
	for l, s := range src {
		for j, x := range s[:n] {
			dst[j][l] = x
		}
	}
}

// workspace is the memory that a projection keeps from call to call.
type workspace struct {
	grads   []float32
	factors [4][]float32 // rounded to bf16
	norms   []float64
	table   []byte      // trak on a device: its signs
	sums    []float32   // [groups, cols, 8], of the block
	slots   [][]float32 // partial sums of the tasks that run together
	threads scratch.Pool[drawing]
}

// drawing is a thread's memory for drawing a tile of R and multiplying by it.
type drawing struct {
	rows   [tileRows][lanes]float32
	tables [4]table
	bits   []byte
	words  []uint64
	wide   []float32
	random []uint32
	plan   []uint32
}

// Workspace returns how many bytes a projection keeps on a CPU with that many threads, for batches
// of up to samples samples and blocks of up to size elements.
func (p *Projection) Workspace(threads, samples, size int) uint64 {
	bytes := uint64(4 * samples * size)
	if p.kind == None || p.kind == Inner {
		return bytes
	}
	m := p.method()
	total := (p.dim + m.align - 1) / m.align * m.align
	blocks := 1
	if m.blockRows > 0 {
		blocks = min(size/m.blockRows+2, 4*threads)
	}
	groups := (samples + lanes - 1) / lanes
	bytes += uint64((1 + blocks) * groups * total * lanes * 4)
	perThread := 48<<10 + max(8*min(total, m.maxCols), 4*tileRows*max(gaussianCols, p.opt.Entries))
	return bytes + uint64(threads*perThread)
}

// method multiplies by one kind of R: sum adds to acc [groups, cols, 8] the product of elements
// lo … hi of the gradients with columns col … col+cols of R.
type method struct {
	sum       func(p *Projection, s *drawing, g gradients, lo, hi, col, cols int, acc []float32)
	blockRows int     // rows of R per partial sum; 0 = all
	align     int     // columns are padded to a multiple of it
	maxCols   int     // columns of a task
	scale     float32 // of R's entries
}

func (p *Projection) method() method {
	scale := float32(1 / math.Sqrt(float64(p.dim)))
	switch p.kind {
	case Rademacher:
		return method{sumRademacher, 2048, 16, maxCols, scale}
	case Gaussian:
		return method{sumGaussian, 2048, 32, maxCols, 1}
	case SJLT:
		return method{sumSJLT, 8192, p.dim, p.dim, float32(1 / math.Sqrt(float64(p.opt.Entries)))}
	case TRAK:
		return method{sumTRAK, 0, sourceCols, 4 * sourceCols, 1}
	}
	panic("gradproj: kind " + string(p.kind) + " has no matrix")
}

// project adds γᵀR to out [n][dim].
func (p *Projection) project(d *cpu.Device, g gradients, out []float32) {
	switch {
	case g.size == 0:
	case p.kind == None:
		p.copyOut(d, g, out)
	case p.kind == Inner:
		p.innerProducts(d, g, out)
	default:
		p.multiply(d, p.method(), g, out)
	}
}

// multiply runs the tasks, blocks of rows by columns, in waves that the memory
// for their partial sums allows, and adds those up in the order of the rows.
func (p *Projection) multiply(d *cpu.Device, m method, g gradients, out []float32) {
	w := &p.work
	end := g.offset + g.size
	first, blocks := 0, 1
	if m.blockRows > 0 {
		first = g.offset / m.blockRows
		blocks = (end+m.blockRows-1)/m.blockRows - first
	}
	total := (p.dim + m.align - 1) / m.align * m.align
	cols := chunk(total, m, d.Threads(), blocks)
	chunks := (total + cols - 1) / cols
	groups := g.groups()
	w.sums = scratch.Sized(w.sums, groups*total*lanes)
	clear(w.sums)
	wave := min(blocks, 4*d.Threads())
	for len(w.slots) < wave*chunks {
		w.slots = append(w.slots, nil)
	}
	for b0 := 0; b0 < blocks; b0 += wave {
		n := min(wave, blocks-b0)
		d.Parallel(n*chunks, func(task int) {
			b, c := first+b0+task/chunks, task%chunks*cols
			width := min(cols, total-c)
			w.slots[task] = scratch.Sized(w.slots[task], groups*width*lanes)
			clear(w.slots[task])
			lo, hi := g.offset, end
			if m.blockRows > 0 {
				lo, hi = max(lo, b*m.blockRows), min(hi, (b+1)*m.blockRows)
			}
			s := w.threads.Take()
			m.sum(p, s, g, lo, hi, c, width, w.slots[task])
			w.threads.Give(s)
		})
		d.Parallel(groups*chunks, func(task int) {
			group, c := task/chunks, task%chunks
			width := min(cols, total-c*cols)
			sum := w.sums[(group*total+c*cols)*lanes:][:width*lanes]
			for b := range n {
				simd.Add(sum, sum, w.slots[b*chunks+c][group*width*lanes:][:width*lanes])
			}
		})
	}
	d.Parallel(g.n, func(i int) {
		sum := w.sums[i/lanes*total*lanes+i%lanes:]
		row := out[i*p.dim : (i+1)*p.dim]
		for c := range row {
			row[c] += float32(m.scale * sum[c*lanes])
		}
	})
}

// chunk is the number of columns of a task: as many as fit, fewer where there
// are too few blocks of rows to keep the threads busy.
func chunk(total int, m method, threads, blocks int) int {
	cols := min(total, m.maxCols)
	for blocks*((total+cols-1)/cols) < 2*threads && cols > 512 && cols%(2*m.align) == 0 {
		cols /= 2
	}
	return cols
}

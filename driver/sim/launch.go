package sim

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"dataflex.dev/dataflex/driver"
)

// launch is one run of a kernel.
type launch struct {
	dev      *Device
	k        *kernel
	params   []byte
	grid     [3]int
	block    [3]int
	shared   int // static memory and sharedBase included
	maxSteps int64
	hazards  map[*buffer][]hazard // nil: races in global memory are not checked
}

// The most shared memory of a block, dynamic and static together.
const (
	sharedLimit80 = 163 << 10
	sharedLimit90 = 227 << 10
)

func dims(d driver.Dim) [3]int { return [3]int{max(d.X, 1), max(d.Y, 1), max(d.Z, 1)} }

// Launch runs f to completion. A fault of the kernel is a *Fault.
func (d *Device) Launch(f driver.Function, c driver.Config, args *driver.Args) error {
	fn, ok := f.(*Function)
	if !ok {
		return fmt.Errorf("sim: a function of another device (%T)", f)
	}
	l := &launch{dev: d, k: fn.k, grid: dims(c.Grid), block: dims(c.Block), maxSteps: d.opt.MaxSteps}
	l.shared = fn.k.static + c.Shared
	if err := l.validate(c, args); err != nil {
		return fmt.Errorf("sim: launch of %s: %w", fn.k.name, err)
	}
	l.params = append([]byte(nil), args.Packed()...)
	if d.opt.GlobalRaces {
		l.hazards = map[*buffer][]hazard{}
	}
	counters, err := l.run(fn)
	d.last, d.launched[fn.k.entry()] = counters, true
	d.addTotal(counters)
	return err
}

func (l *launch) validate(c driver.Config, args *driver.Args) error {
	k := l.k
	threads := l.block[0] * l.block[1] * l.block[2]
	if threads > k.maxThreads || threads > 1024 || l.block[2] > 64 {
		return fmt.Errorf("block of %d x %d x %d threads, the kernel takes %d", l.block[0], l.block[1], l.block[2], min(k.maxThreads, 1024))
	}
	for i, n := range k.reqThreads {
		if l.block[i] != n {
			return fmt.Errorf("block %v, the kernel requires %v threads", l.block, k.reqThreads)
		}
	}
	if l.grid[0] > 1<<31-1 || l.grid[1] > 65535 || l.grid[2] > 65535 {
		return fmt.Errorf("grid %v is larger than a GPU accepts", l.grid)
	}
	for i, n := range k.cluster {
		if l.grid[i]%n != 0 {
			return fmt.Errorf("grid %v is not a multiple of the kernel's clusters of %v blocks", l.grid, k.cluster)
		}
	}
	limit := sharedLimit80
	if strings.HasPrefix(k.module.target, "sm_9") {
		limit = sharedLimit90
	}
	if n := l.shared - sharedBase; c.Shared < 0 || n > limit {
		return fmt.Errorf("%d bytes of shared memory (%d dynamic), a block has at most %d", n, c.Shared, limit)
	}
	return k.checkArgs(args)
}

// checkArgs compares packed arguments with the kernel's parameters one by one.
func (k *kernel) checkArgs(args *driver.Args) error {
	spans := args.Spans()
	for i, s := range spans {
		if i >= len(k.params) {
			break
		}
		if p := k.params[i]; s.Offset != p.offset || s.Size != p.size {
			return fmt.Errorf("argument %d has %d bytes at %d, parameter %s wants %d at %d", i, s.Size, s.Offset, p.name, p.size, p.offset)
		}
	}
	if len(spans) != len(k.params) {
		return fmt.Errorf("%d arguments for %d parameters", len(spans), len(k.params))
	}
	return nil
}

// blocks is the number of blocks of the grid.
func (l *launch) blocks() int { return l.grid[0] * l.grid[1] * l.grid[2] }

// clusters is the number of clusters, in most kernels of one block.
func (l *launch) clusters() int {
	c := l.k.cluster
	return l.blocks() / (c[0] * c[1] * c[2])
}

// run distributes the clusters to the workers. Kernels whose result depends on the order of
// blocks, because of float atomics, use a single worker.
func (l *launch) run(fn *Function) (*Counters, error) {
	workers := min(l.dev.opt.Workers, l.clusters())
	if l.k.floatAtomic || l.hazards != nil {
		workers = 1
	}
	var next atomic.Int64
	total := newCounters(l.k)
	var mu sync.Mutex
	var errs []error
	work := func() {
		c := fn.take(l)
		err := l.runClusters(c, &next)
		mu.Lock()
		defer mu.Unlock()
		for _, b := range c.blocks {
			total.add(b)
		}
		if err != nil {
			errs = append(errs, err)
			return // its state may be inconsistent: it is not reused
		}
		select {
		case fn.idle <- c:
		default:
		}
	}
	if workers == 1 {
		work()
	} else {
		var wg sync.WaitGroup
		var broken atomic.Pointer[any] // a panic of the interpreter, which is passed on to the caller
		for range workers {
			wg.Go(func() {
				defer func() {
					if r := recover(); r != nil {
						broken.CompareAndSwap(nil, &r)
						next.Store(int64(l.clusters()))
					}
				}()
				work()
			})
		}
		wg.Wait()
		if r := broken.Load(); r != nil {
			panic(*r)
		}
	}
	total.finish()
	if len(errs) > 0 {
		return total, first(errs)
	}
	return total, nil
}

// first is the fault of the lowest block, so that messages do not depend on timing.
func first(errs []error) error {
	best := errs[0]
	for _, e := range errs[1:] {
		var f, g *Fault
		if errors.As(e, &f) && errors.As(best, &g) && before3(f.Block, g.Block) {
			best = e
		}
	}
	return best
}

func before3(a, b [3]int) bool {
	for i := 2; i >= 0; i-- {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// take returns a cluster for this launch, a used one if it fits.
func (f *Function) take(l *launch) *cluster {
	threads := l.block[0] * l.block[1] * l.block[2]
	var c *cluster
	select {
	case c = <-f.idle:
	default:
	}
	if c == nil || c.blocks[0].threads != threads || len(c.blocks[0].smem) != l.shared {
		c = newCluster(l.k, threads, l.shared)
	}
	for _, b := range c.blocks {
		b.run, b.dev = l, l.dev
		b.ntid, b.nctaid = l.block, l.grid
		b.check, b.count = !l.dev.opt.Unchecked, !l.dev.opt.Uncounted
		clear(b.counts)
		b.divergent = 0
	}
	return c
}

// runClusters runs clusters until none is left or one faults.
func (l *launch) runClusters(c *cluster, next *atomic.Int64) (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(*Fault)
			if !ok {
				panic(r)
			}
			err = f
			next.Store(int64(l.clusters()))
		}
	}()
	for {
		i := int(next.Add(1) - 1)
		if i >= l.clusters() {
			return nil
		}
		c.start(l, i)
		c.execute()
	}
}

// index is the linear index of the running block.
func (b *block) index() int {
	return b.ctaid[0] + b.nctaid[0]*(b.ctaid[1]+b.nctaid[1]*b.ctaid[2])
}

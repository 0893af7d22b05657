package sim

import (
	"math/bits"
	"math/rand/v2"
)

// A cluster is blocks that run at the same time and reach one another's shared memory. A
// kernel without .reqnctapercluster has clusters of one block.
//
// Accesses are ordered by vector clocks over the threads of the whole cluster. Within a block
// stamps and base work as in race.go; what another block may know of them is published with
// every release, so a barrier of one block orders nothing for the others.

// portableCluster is the number of blocks that a cluster may have on every GPU with clusters.
const portableCluster = 8

// agentsOfBlock is the mbarriers of a block of a cluster that vector clocks have room for.
const agentsOfBlock = 128

// cluster is one running cluster; a worker reuses one for many.
type cluster struct {
	dims   [3]int
	blocks []*block // by rank
	order  []int
	rng    *rand.Rand
	now    uint32 // the stamp at which the block that ran last stopped

	// barrier.cluster, of all live threads.
	live, arrived    int
	gathered, passed vclock // published by the arrivals of this phase, and of completed ones
}

func newCluster(k *kernel, threads, shared int) *cluster {
	c := &cluster{dims: k.cluster}
	n := c.dims[0] * c.dims[1] * c.dims[2]
	for rank := range n {
		b := newBlock(k, threads, shared)
		b.cluster, b.rank = c, rank
		b.first = rank * (32*len(b.warps) + agentsOfBlock)
		c.blocks = append(c.blocks, b)
		c.order = append(c.order, rank)
	}
	return c
}

// ctaid is the grid's index of the block of that rank in cluster number i.
func (c *cluster) ctaid(grid [3]int, i, rank int) (at [3]int) {
	for d, n := range c.dims {
		clusters := grid[d] / n
		at[d] = i%clusters*n + rank%n
		i, rank = i/clusters, rank/n
	}
	return at
}

// start prepares the blocks of cluster number i.
func (c *cluster) start(l *launch, i int) {
	c.live, c.arrived = 0, 0
	c.gathered, c.passed = nil, nil
	for _, b := range c.blocks {
		c.now = max(c.now, b.now)
	}
	for rank, b := range c.blocks {
		b.now, b.rng = c.now, nil
		at := c.ctaid(l.grid, i, rank)
		if s := l.dev.opt.Seed; s != 0 {
			b.rng = rand.New(rand.NewPCG(s, uint64(at[0]+l.grid[0]*(at[1]+l.grid[1]*at[2]))))
		}
		b.start(at)
		c.now = b.now
		c.live += b.threads
	}
	c.rng = c.blocks[0].rng
}

const (
	quantum      = 1 << 16 // instructions that a warp may run before others have a turn
	idleRounds   = 64      // rounds without progress after which a deadlock is reported
	defaultSteps = 1 << 32 // instructions after which a block counts as runaway
)

// execute runs the cluster until all threads have exited.
func (c *cluster) execute() {
	idle := 0
	for {
		progress, left := false, 0
		if c.rng != nil && len(c.order) > 1 {
			c.rng.Shuffle(len(c.order), func(i, j int) { c.order[i], c.order[j] = c.order[j], c.order[i] })
		}
		for _, rank := range c.order {
			b := c.blocks[rank]
			if b.over {
				continue
			}
			b.now = c.now
			n := b.round()
			c.now = b.now
			progress = progress || b.progress
			if n == 0 {
				b.finish()
				b.over = true
			} else if left += n; b.steps > b.run.maxSteps {
				w := b.firstAlive()
				b.fault(w, &b.k.code[w.frags[0].pc], firstLane(w.frags[0].mask), Runaway, "the block has run %d instructions and is here", b.steps)
			}
		}
		if left == 0 {
			return
		}
		if progress {
			idle = 0
		} else if idle++; idle > idleRounds {
			c.deadlock()
		}
	}
}

// deadlock reports a warp that waits, and the place where another one waits.
func (c *cluster) deadlock() {
	var w *warp
	other := "nothing else runs"
	for _, b := range c.blocks {
		for _, v := range b.warps {
			switch {
			case v.done:
			case w == nil:
				w = v
			default:
				other = "warp " + itoa(v.id) + v.home.inCluster() + " waits at " + b.where(max(v.frags[0].pc-1, 0))
			}
		}
	}
	f := w.frags[0]
	at := max(f.pc-1, 0)
	if f.wait == forLanes || c.waits(w, f) {
		at = f.pc
	}
	w.home.fault(w, &w.home.k.code[at], firstLane(f.mask), Deadlock, "every warp waits: warp %d%s here, %s", w.id, w.home.inCluster(), other)
}

// inCluster names the block in a message about several blocks.
func (b *block) inCluster() string {
	if len(b.cluster.blocks) == 1 {
		return ""
	}
	return " of block " + itoa(b.rank) + " of the cluster"
}

// waits reports that a fragment is at a barrier.cluster.wait, which it has not passed.
func (c *cluster) waits(w *warp, f fragment) bool {
	return f.wait == polled && w.awaited&f.mask != 0
}

// clusterBarrier decodes barrier.cluster.
func (d *decoder) clusterBarrier() {
	what := d.one("arrive", "wait")
	run := waitForCluster
	d.k.narrowSync = true
	if what == "wait" {
		d.opt("acquire")
	} else {
		run = arriveInCluster(d.maybe("release", "relaxed") == "relaxed")
	}
	if d.opt("aligned") {
		d.wholeWarp(run)
	} else {
		d.o.run = run
	}
}

func arriveInCluster(relaxed bool) func(b *block, w *warp, o *op, m uint32) status {
	return func(b *block, w *warp, o *op, m uint32) status {
		if again := m & w.awaited; again != 0 {
			b.fault(w, o, firstLane(again), BadBarrier, "arrives a second time without a barrier.cluster.wait in between")
		}
		c := b.cluster
		if b.check {
			if relaxed {
				b.releaseBarriers(&c.gathered, w, m)
			} else {
				b.release(&c.gathered, w, m)
			}
		}
		w.arrived |= m
		w.awaited |= m
		c.arrived += bits.OnesCount32(m)
		b.progress = true
		c.settle()
		return next
	}
}

// releaseBarriers publishes what a relaxed arrival does: that the lanes run, and the mbarriers
// that they have initialised and made visible by a fence.mbarrier_init.
func (b *block) releaseBarriers(v *vclock, w *warp, m uint32) {
	v.grow(b.first + b.threads)
	for ; m != 0; m &= m - 1 {
		at := &(*v)[b.first+w.id*32+firstLane(m)]
		*at = max(*at, b.began)
		for _, q := range b.mbars {
			if q.fenced && q.owner == w.id*32+firstLane(m) {
				*at = max(*at, q.made)
			}
		}
	}
	b.now++
}

func waitForCluster(b *block, w *warp, o *op, m uint32) status {
	if never := m &^ w.awaited; never != 0 {
		b.fault(w, o, firstLane(never), BadBarrier, "waits without a barrier.cluster.arrive")
	}
	if m&w.arrived != 0 {
		return b.poll(w, o, m)
	}
	w.awaited &^= m
	if b.check {
		b.acquire(b.cluster.passed, w, m)
	}
	b.progress = true
	return next
}

// settle completes the barrier when all live threads have arrived.
func (c *cluster) settle() {
	if c.arrived == 0 || c.arrived < c.live {
		return
	}
	c.arrived = 0
	c.passed.join(c.gathered)
	c.gathered = c.gathered[:0]
	for _, b := range c.blocks {
		for _, w := range b.warps {
			w.arrived = 0
		}
	}
}

// leave counts lanes of w that have exited.
func (c *cluster) leave(w *warp, m uint32) {
	c.live -= bits.OnesCount32(m)
	c.arrived -= bits.OnesCount32(m & w.arrived)
	w.arrived &^= m
	c.settle()
}

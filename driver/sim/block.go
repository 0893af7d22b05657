package sim

import (
	"math/bits"
	"math/rand/v2"
)

// warp is 32 threads in lockstep, with their registers.
type warp struct {
	id    int
	live  uint32 // lanes that have not exited
	done  bool
	frags []fragment // frags[0] runs
	next  int32      // the lowest pc ahead at which another fragment is

	r32   []row
	r64   []row64
	p     []uint32
	carry uint32 // the condition code register, one bit per lane
	t32   row
	t64   row64
	addr  row64 // addresses of the current memory instruction

	clock       vclock // accesses of others that the whole warp is ordered after
	partial     []partialClock
	fenced      row // stamp of each lane's last fence.proxy.async
	copies      []copyGroup
	open        []copyRequest
	bulk        *[32]bulkQueue // nil until a thread stores in bulk
	wgOpen      []wgmmaOp
	wgGroups    [][]wgmmaOp
	wgFence     bool
	wgCount     int    // number of wgmmas issued
	spurious    uint32 // lanes whose wait has already failed once without cause
	registers   int    // per thread, set by setmaxnreg; 0: as at the start
	registersOp *op    // the instruction that set them
	sincePoll   int    // instructions since its last unsuccessful poll

	home             *block
	arrived, awaited uint32 // lanes that have arrived at barrier.cluster; that have not waited for it yet
	met              uint8  // blocks of the cluster that are known to run
}

// barrier is one of a block's sixteen barriers (bar.sync).
type barrier struct {
	arrived  int // lanes
	expected int // 0: every thread of the block
	clock    vclock
	all      int // lanes: reductions of bar.red
	count    int // lanes whose predicate holds
}

// block is one running thread block; a worker reuses one for many.
type block struct {
	run *launch
	k   *kernel
	dev *Device

	ctaid, ntid, nctaid [3]int
	threads, live       int

	warps    []*warp
	order    []int
	barriers [16]barrier
	smem     []byte
	state    []byte // of each byte of smem
	shadow   []shadowWord
	local    []byte // threads * localBytes
	localSet []byte

	now, base uint32 // stamps: each access gets now, everything before base is ordered
	agents    int    // threads and mbarriers
	mbars     map[uint32]*mbarrier
	lastTouch []lastTouch
	vectors   int // entries of lastTouch in use since the last barrier of the whole block

	tileA, tileB8 tile // scratch of the matrix instructions

	tileB [256][32]float32
	sums  [16][8]float32

	counts    []opCount
	divergent uint64
	ran       uint64 // blocks run since the counters were collected
	steps     int64
	progress  bool
	check     bool
	count     bool
	rng       *rand.Rand // nil: warps in order, no preemption

	cluster *cluster
	rank    int
	first   int    // of the block's threads, and behind them its mbarriers, in vector clocks
	began   uint32 // the last stamp before the block
	over    bool
	foreign map[int][]foreignAccess // by word of smem: accesses of other blocks
	visits  map[int]visit           // by thread of another block: its last access to this one
}

// States of a byte of shared memory.
const (
	unwritten byte = iota
	written
	inFlight  // an asynchronous copy will write it
	asBarrier // holds an mbarrier
)

func newBlock(k *kernel, threads, shared int) *block {
	b := &block{k: k, threads: threads}
	b.smem = make([]byte, shared)
	b.state = make([]byte, shared)
	b.shadow = make([]shadowWord, (shared+3)/4)
	b.local = make([]byte, threads*k.localBytes)
	b.localSet = make([]byte, threads*k.localBytes)
	b.counts = make([]opCount, len(k.code))
	b.agents = threads
	b.now = 1
	for i := range (threads + 31) / 32 {
		w := &warp{home: b, id: i, r32: make([]row, k.regs32), r64: make([]row64, k.regs64), p: make([]uint32, k.preds)}
		for v, s := range k.const32 {
			for j := range w.r32[s] {
				w.r32[s][j] = v
			}
		}
		for v, s := range k.const64 {
			for j := range w.r64[s] {
				w.r64[s][j] = v
			}
		}
		b.warps = append(b.warps, w)
		b.order = append(b.order, i)
	}
	return b
}

// start prepares b for the block at ctaid.
func (b *block) start(ctaid [3]int) {
	b.ctaid, b.live, b.steps = ctaid, b.threads, 0
	b.ran++
	b.barrierOfAll()
	b.agents = b.threads
	b.mbars = map[uint32]*mbarrier{}
	clear(b.state)
	clear(b.localSet)
	b.barriers = [16]barrier{}
	b.over, b.began, b.foreign, b.visits = false, b.base-1, nil, nil
	for i, w := range b.warps {
		n := min(32, b.threads-32*i)
		w.live = uint32(1<<n - 1)
		w.done, w.spurious, w.wgFence = false, 0, false
		w.arrived, w.awaited, w.met = 0, 0, 0
		w.frags = append(w.frags[:0], fragment{mask: w.live})
		w.clock, w.partial, w.fenced = nil, nil, row{}
		w.copies, w.open, w.wgOpen, w.wgGroups = nil, nil, nil, nil
		w.bulk = nil
		w.wgCount, w.sincePoll, w.registers = 0, 0, 0
	}
}

// round gives every warp a turn and returns how many are not done.
func (b *block) round() (left int) {
	b.progress = false
	if b.rng != nil {
		b.rng.Shuffle(len(b.order), func(i, j int) { b.order[i], b.order[j] = b.order[j], b.order[i] })
	}
	for _, i := range b.order {
		w := b.warps[i]
		if w.done {
			continue
		}
		budget := quantum
		if b.rng != nil {
			budget = 1 + b.rng.IntN(64)
		}
		b.exec(w, budget)
		if !w.done {
			left++
		}
	}
	return left
}

func (b *block) firstAlive() *warp {
	for _, w := range b.warps {
		if !w.done {
			return w
		}
	}
	return b.warps[0]
}

// arrive counts lanes m at barrier id; stay is true if they wait there.
func (b *block) arrive(w *warp, o *op, id int, m uint32, expected int, stay bool) {
	q := &b.barriers[id]
	if q.arrived > 0 && q.expected != expected {
		b.fault(w, o, firstLane(m), BadBarrier, "barrier %d is in use for %s, this instruction is for %s", id, threadsOf(q.expected), threadsOf(expected))
	}
	q.expected = expected
	q.arrived += bits.OnesCount32(m)
	if b.check && (expected != 0 || len(b.cluster.blocks) > 1) {
		b.release(&q.clock, w, m)
	}
	if q.expected != 0 && q.arrived > q.expected {
		b.fault(w, o, firstLane(m), BadBarrier, "%d threads at barrier %d, which expects %d", q.arrived, id, q.expected)
	}
	if stay {
		w.splitOff(o, m, forBarrier).barrier = uint8(id)
	}
	b.progress = true
	b.settleBarriers()
}

func threadsOf(n int) string {
	if n == 0 {
		return "the whole block"
	}
	return itoa(n) + " threads"
}

// settleBarriers releases every barrier that is complete.
func (b *block) settleBarriers() {
	for id := range b.barriers {
		q := &b.barriers[id]
		if q.arrived == 0 || q.expected == 0 && q.arrived < b.live || q.expected != 0 && q.arrived < q.expected {
			continue
		}
		whole := q.arrived >= b.live
		if whole {
			b.barrierOfAll()
		}
		for _, w := range b.warps {
			for i := range w.frags {
				f := &w.frags[i]
				if f.wait != forBarrier || f.barrier != uint8(id) {
					continue
				}
				f.wait = runnable
				if b.check && !whole {
					b.acquire(q.clock, w, f.mask)
				}
				b.reduced(w, f, q)
			}
		}
		*q = barrier{}
	}
}

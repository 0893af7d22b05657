package cpu

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a thread that waits polls before it sleeps, at most. A sleep costs the
// next loop about 30 µs until the thread runs again (50 µs and more on a busy machine), and a
// training step is a chain of more than a thousand loops, in which threads wait for each other
// for as long as the shares of a loop differ, 100 µs of a product. Polls are counted, not
// timed: reading the clock took more time than polling.
//
// A sleep longer than patience halves it, down to a sixteenth: where other programs use the
// cores, threads soon sleep at once instead of competing with those that work. A shorter one,
// which polling on would have saved, doubles it again.
const (
	patience  = 200 * time.Microsecond
	impatient = 16
)

// maxPolls is the number of polls that take as long as patience on this machine.
var maxPolls = sync.OnceValue(func() int64 {
	const n = 4096
	var state atomic.Int64
	best := time.Duration(1 << 62)
	for range 4 {
		start, seen := time.Now(), false
		for range n {
			seen = seen || state.Load() != 0
		}
		if took := time.Since(start); took < best && !seen {
			best = took
		}
	}
	return max(n*int64(patience)/max(int64(best), 1), 256)
})

// pool runs loops, one at a time, on the caller's goroutine and on threads-1
// helpers that live as long as the device.
//
// state counts the helpers that take part in the loop and has the flag open, which is set
// while indices may be left and cleared by the first thread that finds none. A helper joins
// only an open loop, and the caller returns when the loop is closed and the count is 0: it
// does not wait for helpers that did not wake in time. The loop's fields change only then.
type pool struct {
	threads int
	busy    atomic.Bool // a loop is running: nested loops run inline
	state   atomic.Int64
	asleep  atomic.Int32
	closed  atomic.Bool
	wake    chan struct{} // for helpers that sleep
	idle    chan struct{} // wakes the caller: the last helper has left a closed loop
	done    sync.WaitGroup

	polls    int64        // polls before a thread sleeps, at most
	pollsNow atomic.Int64 // the same as adapted to the last waits

	f      func(i int)
	shares []share
	fault  atomic.Pointer[fault]
}

// share is the part of a loop that a thread begins with: always the same part of loops over the
// same rows, so that it finds in its own cache what it wrote there. Who has done his own helps
// with those of the others.
type share struct {
	next atomic.Int64
	end  int64
	_    [48]byte // a cache line each
}

const open int64 = 1 << 32

type fault struct{ value any }

func newPool(threads int) *pool {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &pool{threads: threads, shares: make([]share, threads), wake: make(chan struct{}, threads), idle: make(chan struct{}, 1)}
	if threads > 1 && runtime.GOMAXPROCS(0) > 1 {
		p.polls = maxPolls()
		p.pollsNow.Store(p.polls)
	}
	for i := 1; i < threads; i++ {
		p.done.Go(func() { p.help(i) })
	}
	return p
}

// help joins loops, as thread number own, until the pool is closed.
func (p *pool) help(own int) {
	debug.SetPanicOnFault(true) // if a mapped file becomes shorter, the loop fails and not the process
	for {
		if !p.await() {
			return
		}
		if p.join() {
			p.take(own)
			if p.state.Add(-1) == 0 {
				select {
				case p.idle <- struct{}{}:
				default:
				}
			}
		}
	}
}

// await returns true when a loop may be open, false when the pool is closed.
func (p *pool) await() bool {
	for range p.pollsNow.Load() {
		if p.state.Load()&open != 0 || p.closed.Load() {
			return !p.closed.Load()
		}
	}
	p.asleep.Add(1)
	defer p.asleep.Add(-1)
	if p.state.Load()&open != 0 {
		return true
	}
	asleep := time.Now()
	_, more := <-p.wake
	p.adapt(time.Since(asleep))
	return more
}

// adapt changes the patience after a sleep.
func (p *pool) adapt(slept time.Duration) {
	now := p.pollsNow.Load()
	if slept > patience {
		p.pollsNow.Store(max(now/2, p.polls/impatient))
	} else {
		p.pollsNow.Store(min(2*now, p.polls))
	}
}

// join adds the calling helper to the loop; it returns false if the loop is closed.
func (p *pool) join() bool {
	for {
		s := p.state.Load()
		if s&open == 0 {
			return false
		}
		if p.state.CompareAndSwap(s, s+1) {
			return true
		}
	}
}

// take calls f with indices, those of its own share first, until none is left. A panic is kept
// for the caller.
func (p *pool) take(own int) {
	defer func() {
		if r := recover(); r != nil {
			p.fault.CompareAndSwap(nil, &fault{r})
			for i := range p.shares {
				p.shares[i].next.Store(p.shares[i].end)
			}
		}
	}()
	for i := range p.shares {
		s := &p.shares[(own+i)%p.threads]
		for {
			index := s.next.Add(1) - 1
			if index >= s.end {
				break
			}
			p.f(int(index))
		}
	}
	p.state.And(^open) // nothing is left to join: helpers poll on without joining in vain
}

func (p *pool) parallel(n int, f func(i int)) {
	if n <= 0 {
		return
	}
	if n == 1 || p.threads == 1 || !p.busy.CompareAndSwap(false, true) {
		for i := range n {
			f(i)
		}
		return
	}
	defer p.busy.Store(false)
	p.f = f
	for i := range p.shares {
		p.shares[i].next.Store(int64(n * i / p.threads))
		p.shares[i].end = int64(n * (i + 1) / p.threads)
	}
	p.fault.Store(nil)
	p.state.Store(open)
	for range min(int(p.asleep.Load()), n-1) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	p.take(0)
	p.finish()
	p.f = nil
	if r := p.fault.Load(); r != nil {
		panic(r.value)
	}
}

// finish closes the loop and waits for the helpers that joined it.
func (p *pool) finish() {
	p.state.And(^open)
	for range p.pollsNow.Load() {
		if p.state.Load() == 0 {
			return
		}
	}
	asleep := time.Now()
	for p.state.Load() != 0 {
		<-p.idle
	}
	p.adapt(time.Since(asleep))
}

func (p *pool) close() {
	p.closed.Store(true)
	close(p.wake)
	p.done.Wait()
}

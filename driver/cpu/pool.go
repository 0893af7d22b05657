package cpu

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long an idle thread looks for the next loop before it sleeps.
// Waking it takes about 5 µs (50 µs on a busy machine), and a training step is a
// chain of loops of 20 µs and more with little between them.
const patience = 30 * time.Microsecond

// pool runs loops, one at a time, on the caller's goroutine and on threads-1
// helpers that live as long as the device.
//
// state counts the helpers that take part in the loop and has the flag open
// while there may be indices left. A helper joins only an open loop, and the
// caller returns when it has closed the loop and the count is 0: it does not
// wait for helpers that did not wake in time. The loop's fields change only then.
type pool struct {
	threads int
	busy    atomic.Bool // a loop is running: nested loops run inline
	state   atomic.Int64
	asleep  atomic.Int32
	closed  atomic.Bool
	wake    chan struct{} // for helpers that sleep
	idle    chan struct{} // for the caller: the last helper has left a closed loop
	done    sync.WaitGroup

	n     int
	f     func(i int)
	next  atomic.Int64
	fault atomic.Pointer[fault]
}

const open = 1 << 32

type fault struct{ value any }

func newPool(threads int) *pool {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &pool{threads: threads, wake: make(chan struct{}, threads), idle: make(chan struct{}, 1)}
	for range threads - 1 {
		p.done.Go(p.help)
	}
	return p
}

// help joins loops until the pool is closed.
func (p *pool) help() {
	debug.SetPanicOnFault(true) // a mapped file that was made shorter is the loop's fault, not the process's
	for {
		if !p.await() {
			return
		}
		if p.join() {
			p.take()
			if p.state.Add(-1) == 0 {
				select {
				case p.idle <- struct{}{}:
				default:
				}
			}
		}
	}
}

// await returns when a loop may be open, or false when the pool is closed.
func (p *pool) await() bool {
	if spin(func() bool { return p.state.Load()&open != 0 || p.closed.Load() }) {
		return !p.closed.Load()
	}
	p.asleep.Add(1)
	defer p.asleep.Add(-1)
	if p.state.Load()&open != 0 {
		return true
	}
	_, more := <-p.wake
	return more
}

// spin asks for a while whether something has happened.
func spin(happened func() bool) bool {
	if runtime.GOMAXPROCS(0) == 1 {
		return happened()
	}
	start := time.Now()
	for {
		for range 200 {
			if happened() {
				return true
			}
		}
		if time.Since(start) > patience {
			return false
		}
	}
}

// join counts the calling helper in, unless the loop is closed.
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

// take calls f with indices until none is left. A panic is kept for the caller.
func (p *pool) take() {
	defer func() {
		if r := recover(); r != nil {
			p.fault.CompareAndSwap(nil, &fault{r})
			p.next.Store(int64(p.n))
		}
	}()
	for {
		i := int(p.next.Add(1)) - 1
		if i >= p.n {
			return
		}
		p.f(i)
	}
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
	p.n, p.f = n, f
	p.next.Store(0)
	p.fault.Store(nil)
	p.state.Store(open)
	for range min(int(p.asleep.Load()), n-1) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	p.take()
	p.finish()
	p.f = nil
	if r := p.fault.Load(); r != nil {
		panic(r.value)
	}
}

// finish closes the loop and waits for the helpers that joined it.
func (p *pool) finish() {
	p.state.Add(-open)
	if spin(func() bool { return p.state.Load() == 0 }) {
		return
	}
	for p.state.Load() != 0 {
		<-p.idle
	}
}

func (p *pool) close() {
	p.closed.Store(true)
	close(p.wake)
	p.done.Wait()
}

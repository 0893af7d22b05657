package cpu

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// pool runs loops on a fixed set of goroutines that live as long as the device.
type pool struct {
	threads int
	jobs    chan *job
	busy    atomic.Bool // a loop is running: nested loops run inline
	done    sync.WaitGroup
}

type job struct {
	n     int
	next  atomic.Int64
	f     func(i int)
	wg    sync.WaitGroup
	fault atomic.Pointer[fault]
}

type fault struct{ value any }

func newPool(threads int) *pool {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &pool{threads: threads, jobs: make(chan *job, threads)}
	for range threads - 1 {
		p.done.Go(func() {
			for j := range p.jobs {
				j.run()
				j.wg.Done()
			}
		})
	}
	return p
}

// run takes indices until none is left. A panic is carried to the caller.
func (j *job) run() {
	defer func() {
		if r := recover(); r != nil {
			j.fault.CompareAndSwap(nil, &fault{r})
			j.next.Store(int64(j.n))
		}
	}()
	for {
		i := int(j.next.Add(1)) - 1
		if i >= j.n {
			return
		}
		j.f(i)
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
	j := &job{n: n, f: f}
	helpers := min(p.threads-1, n-1)
	j.wg.Add(helpers)
	for range helpers {
		p.jobs <- j
	}
	j.run()
	j.wg.Wait()
	if r := j.fault.Load(); r != nil {
		panic(r.value)
	}
}

func (p *pool) close() {
	close(p.jobs)
	p.done.Wait()
}

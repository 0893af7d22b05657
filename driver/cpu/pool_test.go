package cpu

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParallelCallsEachIndexOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		d := New(threads)
		for round := range 300 {
			n := round % 40
			counts := make([]atomic.Int32, n)
			d.Parallel(n, func(i int) { counts[i].Add(1) })
			for i := range counts {
				if c := counts[i].Load(); c != 1 {
					t.Fatalf("%d threads, loop of %d: index %d was called %d times", threads, n, i, c)
				}
			}
			if round%100 == 99 {
				time.Sleep(2 * patience) // the helpers fall asleep
			}
		}
		d.Close()
	}
}

func TestParallelUsesItsThreads(t *testing.T) {
	const threads = 3
	d := New(threads)
	defer d.Close()
	for range 20 {
		var met sync.WaitGroup
		met.Add(threads)
		// Each call waits for the others: Parallel returns only if all run at the same time.
		d.Parallel(threads, func(int) { met.Done(); met.Wait() })
		time.Sleep(2 * patience)
	}
}

func TestParallelNestsInline(t *testing.T) {
	d := New(3)
	defer d.Close()
	var sum atomic.Int64
	d.Parallel(10, func(i int) {
		d.Parallel(10, func(j int) { sum.Add(int64(10*i + j)) })
	})
	if sum.Load() != 99*100/2 {
		t.Errorf("sum over 100 nested calls is %d, want 4950", sum.Load())
	}
}

func TestParallelFromSeveralGoroutines(t *testing.T) {
	d := New(3)
	defer d.Close()
	var calls atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				d.Parallel(7, func(int) { calls.Add(1) })
			}
		})
	}
	wg.Wait()
	if calls.Load() != 4*200*7 {
		t.Errorf("%d calls, want %d", calls.Load(), 4*200*7)
	}
}

func TestParallelCarriesPanics(t *testing.T) {
	d := New(2)
	defer d.Close()
	for range 50 {
		func() {
			defer func() {
				if r := recover(); r != "seven" {
					t.Fatalf("recovered %v", r)
				}
			}()
			d.Parallel(20, func(i int) {
				if i == 7 {
					panic("seven")
				}
			})
		}()
	}
	ran := false
	d.Parallel(2, func(i int) { ran = ran || i == 0 })
	if !ran {
		t.Error("the pool is of no use after a panic")
	}
}

func TestParallelDoesNotAllocate(t *testing.T) {
	d := New(2)
	defer d.Close()
	var sum atomic.Int64
	f := func(i int) { sum.Add(int64(i)) }
	if n := testing.AllocsPerRun(100, func() { d.Parallel(8, f) }); n > 0 {
		t.Errorf("%v allocations per loop", n)
	}
}

func BenchmarkParallel(b *testing.B) {
	d := New(2)
	defer d.Close()
	for b.Loop() {
		d.Parallel(2, func(int) {})
	}
}

func BenchmarkParallelAfterPause(b *testing.B) {
	d := New(2)
	defer d.Close()
	f := func(int) {}
	var spent time.Duration
	for b.Loop() {
		time.Sleep(4 * patience)
		start := time.Now()
		d.Parallel(2, f)
		spent += time.Since(start)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/loop")
}

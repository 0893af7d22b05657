package processor

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"dataflex.dev/dataflex/data/task"
)

// grain is how many rows a goroutine takes at a time.
const grain = 64

// parallel calls f(i) for i in [0, n) on several goroutines (threads <= 0 =
// GOMAXPROCS). Of several errors it returns the one with the lowest i: shares are
// handed out in order, so that everything before a share that fails is done.
func parallel(ctx context.Context, n, threads int, f func(i int) error) error {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	var next atomic.Int64
	var stopped atomic.Bool
	var mu sync.Mutex
	var first error
	firstAt := n
	var workers task.Group
	for range min(threads, (n+grain-1)/grain) {
		workers.Go(func() {
			for !stopped.Load() {
				start := int(next.Add(grain)) - grain
				if start >= n {
					return
				}
				i, err := start, ctx.Err()
				if err == nil {
					err = task.Catch(func() error {
						for ; i < min(start+grain, n); i++ {
							if err := f(i); err != nil {
								return err
							}
						}
						return nil
					})
				}
				if err != nil {
					stopped.Store(true)
					mu.Lock()
					if i < firstAt || first == nil {
						first, firstAt = err, i
					}
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return first
}

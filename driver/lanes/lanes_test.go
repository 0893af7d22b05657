package lanes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/drivertest"
	"dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/driver/sim"
)

// run calls f on every rank of a job and returns their errors. A rank closes when f ends.
func run(job []driver.Collective, f func(c driver.Collective) error) []error {
	errs := make([]error, len(job))
	var wg sync.WaitGroup
	for i, c := range job {
		wg.Go(func() {
			errs[i] = errors.Join(f(c), c.Close())
		})
	}
	wg.Wait()
	return errs
}

// devices returns n devices of a kind.
func devices(t *testing.T, kind driver.Kind, n int) []driver.Device {
	devs := make([]driver.Device, n)
	for i := range devs {
		if devs[i] = driver.Device(cpu.New(1)); kind == driver.Sim {
			devs[i] = sim.New(sim.Options{})
		}
		t.Cleanup(func() { devs[i].Close() })
	}
	return devs
}

// TestValues compares every call with its definition, on random sizes.
func TestValues(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 2))
	for range 20 {
		size, n, kind := 1+random.IntN(6), random.IntN(9), []driver.Kind{driver.CPU, driver.Sim}[random.IntN(2)]
		devs := devices(t, kind, size)
		job := lanes.Job(size, devs...)
		for r, err := range run(job, func(c driver.Collective) error {
			return drivertest.Values(context.Background(), c, devs[c.Rank()], drivertest.Lengths{Floats: []int{n, n}, Bytes: []int{n, 0}})
		}) {
			if err != nil {
				t.Fatalf("%v, %d ranks of %d, rank %d: %v", kind, size, n, r, err)
			}
		}
	}
}

// TestSent compares with counts by hand: 3 ranks, parts of 2 floats.
func TestSent(t *testing.T) {
	job := lanes.Job(3, devices(t, driver.CPU, 3)...)
	for _, err := range run(job, func(c driver.Collective) error {
		ctx := context.Background()
		_, err := c.Broadcast(ctx, []byte("12345"), 1)
		return errors.Join(err,
			c.AllToAll(ctx, driver.FromHost(make([]float32, 6)), driver.FromHost(make([]float32, 6))),
			c.AllGather(ctx, driver.FromHost(make([]float32, 2)), driver.FromHost(make([]float32, 6))),
			c.AllGather(ctx, driver.FromHost(make([]float32, 2)), driver.FromHost(make([]float32, 6))))
	}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	sent := job[1].(*lanes.Rank).Sent()
	for kind, want := range map[driver.CallKind]lanes.Sent{
		driver.AllToAll:  {Calls: 1, Messages: 2, Bytes: 16},
		driver.AllGather: {Calls: 2, Messages: 4, Bytes: 32},
		driver.Broadcast: {Calls: 1, Messages: 2, Bytes: 10},
	} {
		if sent[kind] != want {
			t.Errorf("%v: %+v, want %+v", kind, sent[kind], want)
		}
	}
	if s := job[0].(*lanes.Rank).Sent()[driver.Broadcast]; s != (lanes.Sent{}) {
		t.Errorf("a rank that only received has sent %+v", s)
	}
}

// TestFaults: the failure of one rank is named on all of them.
func TestFaults(t *testing.T) {
	why := errors.New("disk full")
	for _, c := range []struct {
		name string
		rank func(context.Context, driver.Collective) error // what rank 1 of 3 does instead of a barrier
		want string
		is   error
	}{
		{"another call", func(ctx context.Context, c driver.Collective) error {
			_, err := c.Broadcast(ctx, nil, 2)
			return err
		}, "ranks 0 and 2 called Barrier, rank 1 called Broadcast(root 2)", nil},
		{"gone", func(context.Context, driver.Collective) error { return nil }, "rank 1 left the job while rank", nil},
		{"aborted", func(ctx context.Context, c driver.Collective) error {
			c.Abort(why)
			return c.Barrier(ctx)
		}, "rank 1 ended the job: disk full", why},
		{"late", func(ctx context.Context, c driver.Collective) error {
			<-ctx.Done()
			time.Sleep(time.Second) // of the bubble's clock
			return c.Barrier(context.Background())
		}, "gave up waiting for rank 1: context deadline exceeded", context.DeadlineExceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				for r, err := range run(lanes.Job(3, driver.Device(nil)), func(k driver.Collective) error {
					if k.Rank() == 1 {
						return c.rank(ctx, k)
					}
					err := k.Barrier(ctx)
					if again := k.Barrier(ctx); again == nil || !strings.Contains(again.Error(), c.want) {
						return fmt.Errorf("a later call: %w", again)
					}
					return err
				}) {
					if c.name == "gone" && r == 1 {
						continue
					}
					if err == nil || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
						t.Errorf("rank %d: %v; want %q", r, err, c.want)
					}
				}
			})
		})
	}
}

func TestLengths(t *testing.T) {
	for r, err := range run(lanes.Job(2, driver.Device(nil)), func(c driver.Collective) error {
		n := 4 + 2*c.Rank() // the two lengths fit together, but not with the other ranks'
		return c.AllToAll(context.Background(), driver.FromHost(make([]float32, n)), driver.FromHost(make([]float32, n)))
	}) {
		const want = "the ranks make different calls: rank 0 called AllToAll(4 to 4 floats), rank 1 called AllToAll(6 to 6 floats)"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("rank %d: %v", r, err)
		}
	}
	c := lanes.Job(2, driver.Device(nil))[0]
	if err := c.AllGather(context.Background(), driver.FromHost(make([]float32, 4)), driver.FromHost(make([]float32, 7))); err == nil || !strings.Contains(err.Error(), "out must be 8 long") {
		t.Error(err)
	}
}

package treesum

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/driver/sim"
	"dataflex.dev/dataflex/kernels/optest"
)

// gradient is what a lane brings: numbers of very different sizes, so that their order
// matters, with zeros of both signs and denormal numbers among them.
func gradient(seed uint64, lane, n int) []float32 {
	g := rand.New(rand.NewPCG(seed, uint64(lane)))
	x := make([]float32, n)
	for i := range x {
		switch g.IntN(20) {
		case 0:
			x[i] = float32(math.Copysign(0, float64(g.IntN(2))-0.5))
		case 1:
			x[i] = math.Float32frombits(g.Uint32N(1<<10) | g.Uint32N(2)<<31)
		default:
			x[i] = float32(g.NormFloat64() * math.Exp2(float64(g.IntN(24)-12)))
		}
	}
	return x
}

// paired is the sum by its definition: neighbours are added, level by level, and the last
// of an odd number is passed to the next level.
func paired(x [][]float32) []float32 {
	for len(x) > 1 {
		var next [][]float32
		for i := 0; i+1 < len(x); i += 2 {
			sum := make([]float32, len(x[i]))
			for j := range sum {
				sum[j] = x[i][j] + x[i+1][j]
			}
			next = append(next, sum)
		}
		if len(x)%2 == 1 {
			next = append(next, x[len(x)-1])
		}
		x = next
	}
	return x[0]
}

// torn makes cuts of [0, n) at random places; some pieces are empty.
func torn(r *rand.Rand, n int) (lengths []int) {
	for left := n; left > 0; {
		k := r.IntN(left + 1)
		if r.IntN(3) == 0 {
			k = left
		}
		lengths = append(lengths, k)
		left -= k
	}
	return lengths
}

func device(kind driver.Kind) driver.Device {
	if kind == driver.Sim {
		return sim.New(sim.Options{Unwritten: true, Workers: 1})
	}
	return cpu.New(1)
}

// run does two steps of a job on processes, with gradients of n floats in pieces of those
// lengths, and returns what every process has after each.
func run(t *testing.T, kind driver.Kind, seed uint64, all, processes, n, bucket int, lengths []int, order Order) (out [2][][]float32, job []driver.Collective) {
	t.Helper()
	devs := make([]driver.Device, processes)
	for p := range devs {
		devs[p] = device(kind)
		defer devs[p].Close()
	}
	job = lanes.Job(processes, devs...)
	out[0], out[1] = make([][]float32, processes), make([][]float32, processes)
	errs := make([]error, processes)
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() {
			defer job[p].Close()
			errs[p] = func() error {
				r, err := newReducer(devs[p], job[p], all, n, order, nil, equal(n, processes, bucket))
				if err != nil {
					return err
				}
				defer r.Close()
				taken := devs[p].Used()
				for step := range 2 {
					if out[step][p], err = oneStep(devs[p], r, seed+uint64(step), n, lengths); err != nil {
						return err
					}
				}
				if used := devs[p].Used(); used != taken {
					return fmt.Errorf("%d bytes are in use after two steps, %d before", used, taken)
				}
				return nil
			}()
		})
	}
	wg.Wait()
	for p, err := range errs {
		if err != nil {
			t.Fatalf("process %d: %v", p, err)
		}
	}
	return out, job
}

func oneStep(dev driver.Device, r *Reducer, seed uint64, n int, lengths []int) ([]float32, error) {
	parts := make([][]float32, len(lengths))
	for i, k := range lengths {
		parts[i] = make([]float32, k)
	}
	placed, release, err := driver.Place(dev, parts...)
	if err != nil {
		return nil, err
	}
	defer release()
	lo, hi := r.Lanes()
	for lane := lo; lane < hi; lane++ {
		x := gradient(seed, lane, n)
		for _, s := range placed {
			if err := driver.Upload(dev, s, x[:s.Len()]); err != nil {
				return nil, err
			}
			x = x[s.Len():]
		}
		if lane < hi-1 {
			err = r.Add(placed...)
		} else {
			err = r.Sum(context.Background(), placed...)
		}
		if err != nil {
			return nil, err
		}
	}
	var sum []float32
	for _, s := range placed {
		x, err := driver.Read(dev, s)
		if err != nil {
			return nil, err
		}
		sum = append(sum, x...)
	}
	return sum, nil
}

// TestSameBitsOnAnyNumberOfProcesses holds random jobs on every number of processes that
// divides the lanes to the sum by its definition.
func TestSameBitsOnAnyNumberOfProcesses(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 3))
	differ := 0
	for round := range 30 {
		kind := []driver.Kind{driver.CPU, driver.Sim}[round%2]
		all, n, seed := 1+random.IntN(16), 1+random.IntN(200), random.Uint64()
		var want [2][]float32
		for step := range want {
			x := make([][]float32, all)
			for lane := range x {
				x[lane] = gradient(seed+uint64(step), lane, n)
			}
			want[step] = paired(x)
			for i, w := range want[step] {
				var one float32 // one after another
				for lane := range x {
					one += x[lane][i]
				}
				if one != w {
					differ++
				}
			}
		}
		for processes := 1; processes <= all; processes++ {
			if all%processes != 0 {
				continue
			}
			lengths, bucket := torn(random, n), 1+random.IntN(n+50)
			got, _ := run(t, kind, seed, all, processes, n, bucket, lengths, Tree)
			for step := range got {
				for p := range processes {
					optest.Same(t, fmt.Sprintf("%v: %d lanes on %d processes, %d floats in %v, buckets of %d: process %d, step %d", kind, all, processes, n, lengths, bucket, p, step),
						got[step][p], want[step])
				}
			}
		}
	}
	if differ < 1000 {
		t.Errorf("only %d sums depend on their order: the test proves little", differ)
	}
}

// TestLibraryOrder is right, if not to the bit: within the error of any order of additions,
// (L−1)·2⁻²⁴ of the sum of magnitudes.
func TestLibraryOrder(t *testing.T) {
	for _, processes := range []int{1, 2, 3, 6} {
		got, _ := run(t, driver.CPU, 5, 6, processes, 100, 37, []int{60, 40}, Library)
		for step, ranks := range got {
			for p, x := range ranks {
				for i, v := range x {
					var sum, size float64
					for lane := range 6 {
						g := float64(gradient(5+uint64(step), lane, 100)[i])
						sum, size = sum+g, size+math.Abs(g)
					}
					if math.Abs(float64(v)-sum) > 5*size/(1<<24) {
						t.Errorf("%d processes, process %d: [%d] = %v, want %v", processes, p, i, v, sum)
					}
				}
			}
		}
	}
}

// TestTraffic: where processes are subtrees each sends 2(W−1)/W of the vector, in two calls
// a bucket, and nothing is copied twice to make room for it.
func TestTraffic(t *testing.T) {
	const n, bucket = 120, 48 // buckets of 48, 48 and 24 floats
	for _, processes := range []int{2, 4} {
		_, job := run(t, driver.CPU, 1, 4, processes, n, bucket, []int{n}, Tree)
		for _, c := range job {
			sent := c.(*lanes.Rank).Sent()
			each := int64(2 * 4 * n * (processes - 1) / processes) // two steps
			for _, kind := range []driver.CallKind{driver.AllToAll, driver.AllGather} {
				if s := sent[kind]; s.Calls != 2*3 || s.Bytes != each {
					t.Errorf("%d processes, %v: %+v, want 6 calls and %d bytes", processes, kind, s, each)
				}
			}
		}
	}
}

// TestMemory counts the buffers: 1 + log2(L/W) lanes' sums, of which the loop's own gradients
// are one, and two buckets between processes.
func TestMemory(t *testing.T) {
	for _, c := range []struct{ lanes, processes, floats int }{
		{1, 1, 0},
		{8, 1, 3 * 1000},
		{8, 2, 2*1000 + 2*100},
		{8, 8, 2 * 104}, // a bucket is a multiple of the processes
		{3, 1, 1 * 1000},
		{6, 2, 1*1000 + 3*100}, // the halves of six are no subtrees: two all-to-alls
	} {
		host := cpu.New(1)
		for _, dev := range []driver.Device{host, plan.New(host)} {
			r, err := newReducer(dev, lanes.Job(c.processes, dev)[0], c.lanes, 1000, Tree, nil, equal(1000, c.processes, 100))
			if err != nil {
				t.Fatal(err)
			}
			if used := dev.Used(); used != uint64(4*c.floats) {
				t.Errorf("%d lanes on %d processes: %d bytes, want %d", c.lanes, c.processes, used, 4*c.floats)
			}
			r.Close()
			if dev.Used() != 0 {
				t.Errorf("%d bytes after Close", dev.Used())
			}
			dev.Close()
		}
	}
}

func TestErrors(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	if _, err := New(dev, lanes.Job(4, dev)[0], 6, 10, Tree); err == nil || !strings.Contains(err.Error(), "6 ranks on 4 processes") || !strings.Contains(err.Error(), "1, 2, 3, 6 processes") {
		t.Errorf("%v", err)
	}
	job := lanes.Job(2, dev)
	r, err := New(dev, job[0], 2, 3, Tree)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	x := driver.FromHost(make([]float32, 3))
	optest.Panics(t, "treesum: the last lane's sum goes to Sum", func() { _ = r.Add(x) })
	optest.Panics(t, "treesum: a sum of 2 floats, want 3", func() { _ = r.Sum(context.Background(), x.Sub(0, 2)) })
	why := errors.New("disk full")
	job[1].Abort(why)
	if err := r.Sum(context.Background(), x); !errors.Is(err, why) {
		t.Errorf("%v", err)
	}
}

package treesum

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/lanes"
	"dataflex.dev/dataflex/kernels/optest"
)

// TestSharesArithmetic: whatever the lengths and the number of processes, every element has
// one owner, cuts are at blocks alone, and no process has more than its part of a bucket and
// a block.
func TestSharesArithmetic(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 5))
	for range 400 {
		block, bucket, processes := 1+random.IntN(9), 1+random.IntN(300), 1+random.IntN(9)
		var lengths []int
		for range random.IntN(8) {
			n := random.IntN(200)
			if random.IntN(4) == 0 {
				n = 0
			}
			lengths = append(lengths, n)
		}
		s := newShares(lengths, processes, bucket, block)
		what := fmt.Sprintf("%v on %d processes, bucket %d, block %d", lengths, processes, bucket, block)
		owner := map[[2]int]int{} // element to process
		total := 0
		for p := range processes {
			last := [2]int{-1, 0}
			for _, part := range s.Of(p) {
				if here := [2]int{part.Vector, part.From}; slices.Compare(here[:], last[:]) <= 0 {
					t.Fatalf("%s: process %d: %v is not in order", what, p, part)
				} else {
					last = here
				}
				if part.From%block != 0 || part.To%block != 0 && part.To != lengths[part.Vector] || part.To <= part.From || part.To > lengths[part.Vector] {
					t.Fatalf("%s: process %d: %v cuts a block", what, p, part)
				}
				for i := part.From; i < part.To; i++ {
					if other, taken := owner[[2]int{part.Vector, i}]; taken {
						t.Fatalf("%s: element %d of %d is of %d and %d", what, i, part.Vector, other, p)
					}
					owner[[2]int{part.Vector, i}] = p
				}
				total += part.To - part.From
			}
		}
		if want := s.len(); total != want || len(owner) != want {
			t.Fatalf("%s: %d elements have owners, want %d", what, total, want)
		}
		for _, c := range s.cuts {
			if n := c.hi() - c.lo(); n > bucket+block || c.width() > (n+processes-1)/processes+block {
				t.Errorf("%s: a part of %d floats of %d", what, c.width(), n)
			}
		}
	}
	// The real sizes: 8 processes hold an 8B model's matrices to a thousandth alike.
	s := NewShares([]int{128256 * 4096, 4096 * 14336, 4096}, 8)
	for p := range 8 {
		n := 0
		for _, part := range s.Of(p) {
			n += part.To - part.From
		}
		if mean := s.len() / 8; n < mean-mean/1000 || n > mean+mean/1000 {
			t.Errorf("process %d owns %d of %d floats", p, n, s.len())
		}
	}
}

// TestSharedSums: a process's own parts of the sum have the bits that the whole sum has, and
// what all own is gathered to the same bits everywhere, of a window, too.
func TestSharedSums(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 6))
	for round := range 40 {
		kind := []driver.Kind{driver.CPU, driver.Sim}[round%2]
		processes := 1 + random.IntN(4)
		all, seed := processes*(1+random.IntN(3)), random.Uint64()
		lengths := torn(random, 1+random.IntN(300))
		n := 0
		for _, k := range lengths {
			n += k
		}
		shares := newShares(lengths, processes, 1+random.IntN(n+50), 1+random.IntN(20))
		x := make([][]float32, all)
		for lane := range x {
			x[lane] = gradient(seed, lane, n)
		}
		want := paired(x)
		lo := random.IntN(n)
		hi := lo + 1 + random.IntN(n-lo)
		what := fmt.Sprintf("%v: %d lanes on %d processes, %v in %v, window %d to %d", kind, all, processes, lengths, shares.cuts, lo, hi)
		devs := make([]driver.Device, processes)
		for p := range devs {
			devs[p] = device(kind)
		}
		job := lanes.Job(processes, devs...)
		errs := make([]error, processes)
		var wg sync.WaitGroup
		for p := range processes {
			wg.Go(func() {
				defer job[p].Close()
				errs[p] = func() error {
					r, err := newReducer(devs[p], job[p], all, n, Tree, shares, shares.cuts)
					if err != nil {
						return err
					}
					defer r.Close()
					sum, err := oneStep(devs[p], r, seed, n, lengths)
					if err != nil {
						return err
					}
					var own, window []float32
					for _, part := range shares.Of(p) {
						at := shares.Start(part.Vector)
						optest.Same(t, what, sum[at+part.From:at+part.To], want[at+part.From:at+part.To])
						own = append(own, want[at+part.From:at+part.To]...)
						if from, to := max(lo, at+part.From), min(hi, at+part.To); from < to {
							window = append(window, want[from:to]...)
						}
					}
					if processes == 1 {
						return nil
					}
					for _, g := range []struct {
						own    []float32
						lo, hi int
					}{{own, 0, n}, {window, lo, hi}} {
						placed, release, err := driver.Place(devs[p], g.own, make([]float32, g.hi-g.lo))
						if err != nil {
							return err
						}
						defer release()
						if err := r.Gather(context.Background(), g.lo, placed[:1], placed[1:]); err != nil {
							return err
						}
						got, err := driver.Read(devs[p], placed[1])
						if err != nil {
							return err
						}
						optest.Same(t, what, got, want[g.lo:g.hi])
					}
					return nil
				}()
			})
		}
		wg.Wait()
		for p, err := range errs {
			if err != nil {
				t.Fatalf("%s: process %d: %v", what, p, err)
			}
			devs[p].Close()
		}
	}
}

// TestGatherInPlace: weights of which each process has stepped its parts become whole where
// they lie.
func TestGatherInPlace(t *testing.T) {
	const n, processes = 97, 3
	shares := newShares([]int{40, 57}, processes, 33, 4)
	dev := cpu.New(1)
	defer dev.Close()
	job := lanes.Job(processes, dev)
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() {
			defer job[p].Close()
			r, err := newReducer(dev, job[p], processes, n, Tree, shares, shares.cuts)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			x := make([]float32, n)
			all := []driver.F32{driver.FromHost(x[:40]), driver.FromHost(x[40:])}
			var own []driver.F32
			for _, part := range shares.Of(p) {
				own = append(own, all[part.Vector].Sub(part.From, part.To))
				for i := part.From; i < part.To; i++ {
					x[shares.Start(part.Vector)+i] = float32(shares.Start(part.Vector) + i)
				}
			}
			if err := r.Gather(t.Context(), 0, own, all); err != nil {
				t.Error(err)
			}
			for i := range x {
				if x[i] != float32(i) {
					t.Errorf("process %d: [%d] = %v", p, i, x[i])
				}
			}
		})
	}
	wg.Wait()
}

// TestGatherSmall: of small vectors, which few processes own, only their owners send.
func TestGatherSmall(t *testing.T) {
	const processes = 9
	lengths := []int{10, 7, 300, 5, 38}
	shares := newShares(lengths, processes, 1000, 4)
	dev := cpu.New(1)
	defer dev.Close()
	job := lanes.Job(processes, dev)
	var sent [processes]lanes.Sent
	var wg sync.WaitGroup
	for p := range processes {
		wg.Go(func() {
			defer job[p].Close()
			r, err := newReducer(dev, job[p], processes, shares.len(), Tree, shares, shares.cuts)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			for vector, n := range lengths {
				want, own := make([]float32, n), []driver.F32{}
				for i := range want {
					want[i] = float32(100*vector + i)
				}
				for _, part := range shares.Of(p) {
					if part.Vector == vector {
						own = append(own, driver.FromHost(slices.Clone(want[part.From:part.To])))
					}
				}
				got := make([]float32, n)
				if err := r.Gather(t.Context(), shares.Start(vector), own, []driver.F32{driver.FromHost(got)}); err != nil {
					t.Error(err)
				}
				if !slices.Equal(got, want) {
					t.Errorf("process %d, vector %d: %v", p, vector, got)
				}
			}
			sent[p] = job[p].(*lanes.Rank).Sent()[driver.Broadcast]
		})
	}
	wg.Wait()
	var bytes int64
	for _, s := range sent {
		bytes += s.Bytes
	}
	if want := int64(4 * (10 + 7 + 5 + 38) * (processes - 1)); bytes != want { // a part is 40: that of 300 is sent by all at once
		t.Errorf("small vectors move %d bytes, want %d", bytes, want)
	}
}

// TestSharedTraffic: a step that shares sends what one without does, 2(W−1)/W of the vector
// where its parts are equal: gradients in one all-to-all a bucket, weights in one all-gather.
func TestSharedTraffic(t *testing.T) {
	const n, bucket = 120, 48 // buckets of 48, 48 and 24 floats
	for _, processes := range []int{2, 4} {
		shares := newShares([]int{80, 40}, processes, bucket, 2)
		dev := cpu.New(1)
		defer dev.Close()
		job := lanes.Job(processes, dev)
		var wg sync.WaitGroup
		for p := range processes {
			wg.Go(func() {
				defer job[p].Close()
				r, err := newReducer(dev, job[p], 4, n, Tree, shares, shares.cuts)
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Close()
				if _, err := oneStep(dev, r, 1, n, []int{80, 40}); err != nil {
					t.Error(err)
				}
				weights := driver.FromHost(make([]float32, n))
				var own []driver.F32
				for _, part := range shares.Of(p) {
					at := shares.Start(part.Vector)
					own = append(own, weights.Sub(at+part.From, at+part.To))
				}
				if err := r.Gather(t.Context(), 0, own, []driver.F32{weights}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		each := int64(4 * n * (processes - 1) / processes)
		for p, c := range job {
			for _, kind := range []driver.CallKind{driver.AllToAll, driver.AllGather} {
				if s := c.(*lanes.Rank).Sent()[kind]; s.Calls != 3 || s.Bytes != each {
					t.Errorf("process %d of %d, %v: %+v, want 3 calls and %d bytes", p, processes, kind, s, each)
				}
			}
		}
	}
}

// TestSumOf: vectors that are added up by themselves, in any order, have the bits that they
// have in the sum of all.
func TestSumOf(t *testing.T) {
	random := rand.New(rand.NewPCG(17, 7))
	for round := range 40 {
		kind, processes := []driver.Kind{driver.CPU, driver.Sim}[round%2], 2+random.IntN(5)
		var lengths, ends []int
		n := 0
		for i := range 1 + random.IntN(5) {
			lengths = append(lengths, 1+random.IntN(60))
			if n += lengths[i]; random.IntN(2) == 0 {
				ends = append(ends, i)
			}
		}
		if len(ends) == 0 || ends[len(ends)-1] != len(lengths)-1 {
			ends = append(ends, len(lengths)-1)
		}
		shares := newShares(lengths, processes, 1+random.IntN(n), 1+random.IntN(9), ends...)
		what := fmt.Sprintf("%v: %d processes, %v to %v in %v", kind, processes, lengths, ends, shares.cuts)
		x := make([][]float32, processes)
		for lane := range x {
			x[lane] = gradient(9, lane, n)
		}
		want, order := paired(x), random.Perm(len(ends))
		devs := make([]driver.Device, processes)
		for p := range devs {
			devs[p] = device(kind)
		}
		job := lanes.Job(processes, devs...)
		errs := make([]error, processes)
		var wg sync.WaitGroup
		for p := range processes {
			wg.Go(func() {
				defer job[p].Close()
				errs[p] = func() error {
					r, err := newReducer(devs[p], job[p], processes, n, Tree, shares, shares.cuts)
					if err != nil {
						return err
					}
					defer r.Close()
					for _, k := range order {
						first := 0
						if k > 0 {
							first = ends[k-1] + 1
						}
						var sum, own, wanted [][]float32
						for v := first; v <= ends[k]; v++ {
							at := shares.Start(v)
							sum = append(sum, x[p][at:at+lengths[v]])
							for _, part := range shares.Of(p) {
								if part.Vector == v {
									own = append(own, make([]float32, part.To-part.From))
									wanted = append(wanted, want[at+part.From:at+part.To])
								}
							}
						}
						placed, release, err := driver.Place(devs[p], slices.Concat(sum, own)...)
						if err != nil {
							return err
						}
						if err := r.SumOf(t.Context(), shares.Start(first), placed[:len(sum)], placed[len(sum):]); err != nil {
							return err
						}
						for i, s := range placed[len(sum):] {
							got, err := driver.Read(devs[p], s)
							if err != nil {
								return err
							}
							optest.Same(t, what, got, wanted[i])
						}
						release()
					}
					return nil
				}()
			})
		}
		wg.Wait()
		for p, err := range errs {
			if err != nil {
				t.Fatalf("%s: process %d: %v", what, p, err)
			}
			devs[p].Close()
		}
	}
}

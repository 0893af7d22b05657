package ranks

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/lanes"
)

// together runs what every rank does, each in a goroutine of its own.
func together(t *testing.T, n int, do func(ctx context.Context, j *Job) error) []error {
	t.Helper()
	dev := cpu.New(1)
	defer dev.Close()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for r, c := range lanes.Job(n, dev) {
		wg.Go(func() {
			ctx, j := New(t.Context(), c, 20*time.Second)
			errs[r] = j.Close(do(ctx, j))
		})
	}
	wg.Wait()
	return errs
}

// TestDeal: whatever the number of ranks, the results come in order on every rank, and
// every piece is made once.
func TestDeal(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		var mu sync.Mutex
		made := map[int]int{}
		for rank, err := range together(t, n, func(ctx context.Context, j *Job) error {
			var got []float64
			err := j.Deal(ctx, "pieces", 7, func(i int) ([]byte, error) {
				mu.Lock()
				defer mu.Unlock()
				made[i]++
				return Pack([]float64{float64(i * i), math.NaN()}), nil
			}, func(i int, result []byte) error {
				x := make([]float64, 2)
				if err := Unpack(result, x); err != nil {
					return err
				}
				if !math.IsNaN(x[1]) {
					return fmt.Errorf("%v", x)
				}
				got = append(got, x[0])
				return nil
			})
			if want := []float64{0, 1, 4, 9, 16, 25, 36}; err == nil && !slices.Equal(got, want) {
				err = fmt.Errorf("%v", got)
			}
			return err
		}) {
			if err != nil {
				t.Errorf("rank %d of %d: %v", rank, n, err)
			}
		}
		for i := range 7 {
			if made[i] != 1 {
				t.Errorf("%d ranks made piece %d %d times", n, i, made[i])
			}
		}
	}
}

// TestOneFails: all ranks hear of a rank's error at their next call, whatever it is, with
// the rank, its place and its words; the rank itself keeps its error.
func TestOneFails(t *testing.T) {
	broken := errors.New("the disk is full")
	for rank, err := range together(t, 3, func(ctx context.Context, j *Job) error {
		j.At("step 7")
		if j.Rank() == 1 {
			return j.Agree(ctx, "saving", broken)
		}
		_, err := Share(ctx, j, "losses", j.Rank(), nil)
		return err
	}) {
		var f *Failed
		switch {
		case !errors.As(err, &f) || f.Rank != 1 || !Told(err):
			t.Errorf("rank %d: %v", rank, err)
		case rank == 1 && !errors.Is(err, broken):
			t.Errorf("the rank's own error is lost: %v", err)
		case rank != 1 && (!strings.Contains(err.Error(), "rank 1 on ") || !strings.Contains(err.Error(), "step 7, saving: the disk is full")):
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// TestOneIsAskedToStop: the context of all ranks ends at the same place.
func TestOneIsAskedToStop(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	steps := make([]int, 3)
	var wg sync.WaitGroup
	for r, c := range lanes.Job(3, dev) {
		outer, stop := context.WithCancel(t.Context())
		wg.Go(func() {
			defer stop()
			ctx, j := New(outer, c, 20*time.Second)
			var err error
			for err == nil && ctx.Err() == nil {
				steps[r]++
				if r == 2 && steps[r] == 5 {
					stop()
				}
				err = j.Agree(ctx, "step", nil)
			}
			if err := j.Close(errors.Join(err, ctx.Err())); !errors.Is(err, context.Canceled) {
				t.Errorf("rank %d: %v", r, err)
			}
		})
	}
	wg.Wait()
	if !slices.Equal(steps, []int{5, 5, 5}) {
		t.Errorf("the ranks ended after %v steps", steps)
	}
}

// TestOnesQuestionIsCutShort: what rank 0 alone waits for ends when it is asked to stop,
// and that is nobody's failure.
func TestOnesQuestionIsCutShort(t *testing.T) {
	dev := cpu.New(1)
	defer dev.Close()
	var wg sync.WaitGroup
	for _, c := range lanes.Job(2, dev) {
		outer, stop := context.WithCancel(t.Context())
		wg.Go(func() {
			defer stop()
			ctx, j := New(outer, c, 20*time.Second)
			_, err := Decided(ctx, j, "a program", func(ctx context.Context) (int, error) {
				stop()
				<-ctx.Done()
				return 0, ctx.Err()
			})
			if err := j.Close(err); !errors.Is(err, context.Canceled) || Told(err) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
}

// TestDiverged: ranks that make different calls get an error that names both.
func TestDiverged(t *testing.T) {
	for rank, err := range together(t, 2, func(ctx context.Context, j *Job) error {
		return j.Agree(ctx, []string{"step 3", "step 4"}[j.Rank()], nil)
	}) {
		if err == nil || !strings.Contains(err.Error(), "step 3") || !strings.Contains(err.Error(), "step 4") {
			t.Errorf("rank %d: %v", rank, err)
		}
	}
}

// TestOneDies: the others get an error with its rank and what they were doing.
func TestOneDies(t *testing.T) {
	for rank, err := range together(t, 2, func(ctx context.Context, j *Job) error {
		j.At("step 3")
		if j.Rank() == 1 {
			return errors.New("a panic")
		}
		return j.Agree(ctx, "losses", nil)
	}) {
		if rank == 0 && (err == nil || !strings.Contains(err.Error(), "step 3, losses") || !strings.Contains(err.Error(), "rank 1")) {
			t.Errorf("%v", err)
		}
	}
}

// FuzzDecode: any bytes are an error or a frame that is encoded to the same message.
func FuzzDecode(f *testing.F) {
	f.Add(frame{what: "losses", stop: true, payload: []byte{1, 2}}.encode())
	f.Add(frame{what: "", failed: true, payload: []byte("host\x00place\x00why")}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decode(b)
		if err != nil {
			return
		}
		_ = got.failure(1, nil).Error()
		again, err := decode(got.encode())
		if err != nil || again.what != got.what || again.stop != got.stop || again.failed != got.failed || string(again.payload) != string(got.payload) {
			t.Errorf("%+v became %+v, %v", got, again, err)
		}
	})
}

// TestStart: calls run beside what a rank computes, which here they wait for; the next call waits
// for them, and their error and their panic are those of the wait and of every later call.
func TestStart(t *testing.T) {
	broken := errors.New("a planted fault")
	for _, fault := range []func() error{nil, func() error { return broken }, func() error { panic(broken) }} {
		for rank, err := range together(t, 2, func(ctx context.Context, j *Job) error {
			computes := make(chan struct{})
			var order []string
			wait := j.Start("weights", func(ctx context.Context) func() error {
				return Aside(func() error {
					<-computes
					order = append(order, "weights")
					if fault != nil {
						return fault()
					}
					return j.c.Barrier(ctx)
				})
			})
			close(computes)
			err := j.Move(ctx, "gradients", func(ctx context.Context) error {
				order = append(order, "gradients")
				return j.c.Barrier(ctx)
			})
			if want := []string{"weights", "gradients"}[:len(order)]; !slices.Equal(order, want) || fault == nil && len(order) != 2 {
				return fmt.Errorf("the calls were %q", order)
			}
			if late := wait(); late != err {
				return fmt.Errorf("the wait returned %v, and the call after it %v", late, err)
			}
			return err
		}) {
			var lost *Lost
			if fault == nil && err != nil || fault != nil && !(errors.As(err, &lost) && strings.Contains(err.Error(), broken.Error())) {
				t.Errorf("rank %d: %v", rank, err)
			}
		}
	}
}

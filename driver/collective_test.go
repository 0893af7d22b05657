package driver_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/driver/sim"
)

func TestSoloCopies(t *testing.T) {
	host := cpu.New(1)
	defer host.Close()
	ctx := context.Background()
	for _, dev := range []driver.Device{host, sim.New(sim.Options{})} {
		c := driver.Solo(dev)
		if c.Rank() != 0 || c.Size() != 1 {
			t.Errorf("%v: rank %d of %d", dev.Kind(), c.Rank(), c.Size())
		}
		want := []float32{1, -2, 3.5}
		placed, release, err := driver.Place(dev, want, make([]float32, 3))
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		for _, call := range []func(context.Context, driver.F32, driver.F32) error{c.AllToAll, c.AllGather, c.ReduceScatter} {
			if err := driver.Upload(dev, placed[1], make([]float32, 3)); err != nil {
				t.Fatal(err)
			}
			if err := call(ctx, placed[0], placed[1]); err != nil {
				t.Error(err)
			}
			if got, err := driver.Read(dev, placed[1]); err != nil || !slices.Equal(got, want) {
				t.Errorf("%v: %v, %v", dev.Kind(), got, err)
			}
			if err := call(ctx, placed[0], placed[1].Sub(0, 2)); err == nil || !strings.Contains(err.Error(), "3 to 2 floats") {
				t.Errorf("other lengths: %v", err)
			}
		}
		if all, err := c.GatherBytes(ctx, []byte("x")); err != nil || len(all) != 1 || string(all[0]) != "x" {
			t.Errorf("%q, %v", all, err)
		}
		if data, err := c.Broadcast(ctx, []byte("y"), 0); err != nil || string(data) != "y" {
			t.Errorf("%q, %v", data, err)
		}
		if _, err := c.Broadcast(ctx, nil, 1); err == nil {
			t.Error("a root that there is not")
		}
		if err := c.Barrier(ctx); err != nil {
			t.Error(err)
		}
		why := errors.New("no disk")
		c.Abort(why)
		if err := errors.Join(c.Barrier(ctx)); !errors.Is(err, why) {
			t.Errorf("after Abort: %v", err)
		}
	}
}

func TestSoloHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("stopped")
	cancel(why)
	if err := driver.Solo(nil).Barrier(ctx); !errors.Is(err, why) || !strings.Contains(err.Error(), "Barrier") {
		t.Error(err)
	}
}

func TestAgreeNamesWhoCalledWhat(t *testing.T) {
	a := driver.Call{Kind: driver.AllToAll, In: 8, Out: 8}
	b := driver.Call{Kind: driver.AllToAll, In: 9, Out: 9}
	if err := driver.Agree([]driver.Call{a, a, a}); err != nil {
		t.Error(err)
	}
	err := driver.Agree([]driver.Call{a, b, a, a, {Kind: driver.Broadcast, Root: 2}})
	const want = "the ranks make different calls: ranks 0, 2 and 3 called AllToAll(8 to 8 floats), rank 1 called AllToAll(9 to 9 floats), rank 4 called Broadcast(root 2)"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if got := driver.Ranks([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}); got != "ranks 0, 1, 2, 3, 4, 5, 6, 7 and 2 more" {
		t.Error(got)
	}
}

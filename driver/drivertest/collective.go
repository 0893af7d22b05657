// Package drivertest is shared by the tests of the implementations of driver.Collective: every
// call compared with its definition.
package drivertest

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"dataflex.dev/dataflex/driver"
)

// Lengths of what Values moves.
type Lengths struct {
	Floats []int // per rank
	Bytes  []int
}

// element is the value of rank r at index i: a number that shows where it comes from.
func element(r, i int) float32 { return float32(1000*r + i) }

func elements(r, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = element(r, i)
	}
	return x
}

// Move makes one call on memory of dev and returns the out floats that it received.
func Move(dev driver.Device, in []float32, out int, call func(in, out driver.F32) error) ([]float32, error) {
	placed, release, err := driver.Place(dev, in, make([]float32, out))
	if err != nil {
		return nil, err
	}
	defer release()
	if err := call(placed[0], placed[1]); err != nil {
		return nil, err
	}
	got, err := driver.Read(dev, placed[1])
	return slices.Clone(got), err
}

// Values makes every call of a collective, on all of its ranks, and compares what comes with
// the definition.
func Values(ctx context.Context, c driver.Collective, dev driver.Device, l Lengths) error {
	for _, n := range l.Floats {
		if err := floats(ctx, c, dev, n); err != nil {
			return fmt.Errorf("%d floats: %w", n, err)
		}
	}
	for _, n := range l.Bytes {
		if err := messages(ctx, c, n); err != nil {
			return fmt.Errorf("%d bytes: %w", n, err)
		}
		if err := c.Barrier(ctx); err != nil {
			return err
		}
	}
	return nil
}

func floats(ctx context.Context, c driver.Collective, dev driver.Device, n int) error {
	rank, size := c.Rank(), c.Size()
	for _, call := range []struct {
		name    string
		in, out int
		f       func(ctx context.Context, in, out driver.F32) error
		want    func(i int) float32
	}{
		{"AllToAll", size * n, size * n, c.AllToAll, func(i int) float32 { return element(i/n, rank*n+i%n) }},
		{"AllGather", n, size * n, c.AllGather, func(i int) float32 { return element(i/n, i%n) }},
		// All terms are whole numbers below 2²⁴, so that their sum is exact in any order: that
		// of 1000·r + rank·n + i over r.
		{"ReduceScatter", size * n, n, c.ReduceScatter, func(i int) float32 { return float32(1000*size*(size-1)/2 + size*(rank*n+i)) }},
	} {
		got, err := Move(dev, elements(rank, call.in), call.out, func(in, out driver.F32) error { return call.f(ctx, in, out) })
		if err != nil {
			return err
		}
		for i, x := range got {
			if x != call.want(i) {
				return fmt.Errorf("%s: [%d] = %v, want %v", call.name, i, x, call.want(i))
			}
		}
	}
	return nil
}

// messages are of another length on every rank.
func messages(ctx context.Context, c driver.Collective, n int) error {
	message := func(r int) []byte { return bytes.Repeat([]byte{byte(r + 1)}, n*r+r) }
	root := c.Size() / 2
	data, err := c.Broadcast(ctx, message(c.Rank()), root)
	if err != nil {
		return err
	}
	if !bytes.Equal(data, message(root)) {
		return fmt.Errorf("rank %d's Broadcast: %d bytes, want %d", root, len(data), len(message(root)))
	}
	all, err := c.GatherBytes(ctx, message(c.Rank()))
	if err != nil {
		return err
	}
	if len(all) != c.Size() {
		return fmt.Errorf("GatherBytes: %d messages of %d ranks", len(all), c.Size())
	}
	for r, b := range all {
		if !bytes.Equal(b, message(r)) {
			return fmt.Errorf("GatherBytes: rank %d's is %d bytes, want %d", r, len(b), len(message(r)))
		}
	}
	return nil
}

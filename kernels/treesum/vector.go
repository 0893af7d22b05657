package treesum

import (
	"fmt"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/reduce"
)

// vector is floats in pieces: the gradients of all parameters, one after another.
type vector []driver.F32

func (v vector) len() (n int) {
	for _, s := range v {
		n += s.Len()
	}
	return n
}

// window calls f with the pieces of v in [lo, hi), and where in that range each
// begins.
func (v vector) window(lo, hi int, f func(part driver.F32, at int) error) error {
	start := 0
	for _, s := range v {
		from, to := max(lo, start), min(hi, start+s.Len())
		if from < to {
			if err := f(s.Sub(from-start, to-start), from-lo); err != nil {
				return err
			}
		}
		start += s.Len()
	}
	return nil
}

// whole is [lo, hi) of v, if it is contiguous.
func (v vector) whole(lo, hi int) (part driver.F32, ok bool) {
	_ = v.window(lo, hi, func(s driver.F32, _ int) error {
		if s.Len() == hi-lo {
			part, ok = s, true
		}
		return nil
	})
	return part, ok
}

// add is dst += x. One of them is in the pieces of the other, or is one piece.
func (dst vector) add(dev driver.Device, x vector) {
	if len(x) != len(dst) && len(x) != 1 && len(dst) != 1 {
		panic(fmt.Sprintf("treesum: a sum in %d pieces, and one in %d", len(dst), len(x)))
	}
	if len(x) >= len(dst) {
		at := 0
		for _, s := range x {
			_ = dst.window(at, at+s.Len(), func(d driver.F32, _ int) error { reduce.Add(dev, d, s); return nil })
			at += s.Len()
		}
		return
	}
	at := 0
	for _, d := range dst {
		reduce.Add(dev, d, x[0].Sub(at, at+d.Len()))
		at += d.Len()
	}
}

package main

import (
	"math/rand/v2"
	"unsafe"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/kernels/cast"
)

// room holds the tensors of one case.
type room struct {
	dev     driver.Device
	mem     []driver.Memory
	pattern []float32 // normal numbers, repeated over every tensor
	made    int       // tensors so far: each begins elsewhere in the pattern
}

// patternLen is the floats after which a tensor repeats itself: more than a tile of any
// kernel sees. shift is how much later than the one before it a tensor begins.
const (
	patternLen = 1<<20 - 3
	shift      = 77773
)

func newRoom(dev driver.Device) *room {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, patternLen)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return &room{dev: dev, pattern: x}
}

// operand is a tensor and the numbers that were written to it, for the check on the host.
type operand[T driver.Element] struct {
	driver.Slice[T]
	part []float32 // element i is part[i % len(part)]
}

// at is element i as it was written.
func (o operand[T]) at(i int) float64 { return float64(o.part[i%len(o.part)]) }

// dot is the inner product of n elements of a from i on and of b from j on.
func dot[T, U driver.Element](a operand[T], i int, b operand[U], j, n int) (sum float64) {
	for n > 0 {
		x, y := a.part[i%len(a.part):], b.part[j%len(b.part):]
		step := min(n, len(x), len(y))
		x, y = x[:step], y[:step]
		for k, v := range x {
			sum += float64(v) * float64(y[k])
		}
		i, j, n = i+step, j+step, n-step
	}
	return sum
}

// must is for what a case cannot go on without; measure makes it the record's error.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (r *room) alloc(n int) driver.Memory {
	m, err := r.dev.Alloc(n)
	must(err)
	r.mem = append(r.mem, m)
	return m
}

// free gives all tensors back.
func (r *room) free() {
	for _, m := range r.mem {
		r.dev.Free(m)
	}
	r.mem, r.made = nil, 0
}

// zeros is n floats, 0 each.
func (r *room) zeros(n int) driver.F32 { return driver.View[float32](r.alloc(4 * n)) }

// normal is n normal numbers of that standard deviation.
func (r *room) normal(n int, std float32) operand[float32] {
	part := r.draw(n, func(v float32) float32 { return std * v })
	return filled(r, n, part, part)
}

// positive is n squares of normal numbers: second moments.
func (r *room) positive(n int) operand[float32] {
	part := r.draw(n, func(v float32) float32 { return v * v })
	return filled(r, n, part, part)
}

// half is normal in bf16.
func (r *room) half(n int, std float32) operand[driver.BF16] {
	part := r.draw(n, func(v float32) float32 { return std * v })
	narrow := make([]driver.BF16, len(part))
	cast.NarrowHost(part, narrow)
	cast.WidenHost(narrow, part)
	return filled(r, n, part, narrow)
}

// draw is the part of a tensor of n that repeats.
func (r *room) draw(n int, f func(float32) float32) []float32 {
	part, at := make([]float32, min(n, len(r.pattern))), r.made*shift
	for i := range part {
		part[i] = f(r.pattern[(at+i)%len(r.pattern)])
	}
	r.made++
	return part
}

// filled is a tensor of n elements that repeats part, as written has it.
func filled[T driver.Element](r *room, n int, part []float32, written []T) operand[T] {
	s := driver.View[T](r.alloc(n * int(unsafe.Sizeof(written[0]))))
	for lo := 0; lo < n; lo += len(part) {
		hi := min(n, lo+len(part))
		must(driver.Upload(r.dev, s.Sub(lo, hi), written[:hi-lo]))
	}
	return operand[T]{s, part}
}

// ids is n numbers below limit, spread over all of it.
func ids(n, limit int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(uint64(i) * 2654435761 % uint64(limit))
	}
	return out
}

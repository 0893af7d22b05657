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
}

// patternLen is the floats after which a tensor repeats itself: more than a tile of any
// kernel sees.
const patternLen = 1<<20 - 3

func newRoom(dev driver.Device) *room {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, patternLen)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return &room{dev: dev, pattern: x}
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
	r.mem = nil
}

// zeros is n floats, 0 each.
func (r *room) zeros(n int) driver.F32 { return driver.View[float32](r.alloc(4 * n)) }

// normal is n normal numbers of that standard deviation.
func (r *room) normal(n int, std float32) driver.F32 {
	return filled(r, n, r.made(n, func(v float32) float32 { return std * v }))
}

// positive is n squares of normal numbers: second moments.
func (r *room) positive(n int) driver.F32 {
	return filled(r, n, r.made(n, func(v float32) float32 { return v * v }))
}

// half is normal in bf16.
func (r *room) half(n int, std float32) driver.Slice[driver.BF16] {
	part := r.made(n, func(v float32) float32 { return std * v })
	narrow := make([]driver.BF16, len(part))
	cast.NarrowHost(part, narrow)
	return filled(r, n, narrow)
}

// made is the part of a tensor of n that repeats.
func (r *room) made(n int, f func(float32) float32) []float32 {
	part := make([]float32, min(n, len(r.pattern)))
	for i := range part {
		part[i] = f(r.pattern[i])
	}
	return part
}

// filled is a tensor of n elements that repeats part.
func filled[T driver.Element](r *room, n int, part []T) driver.Slice[T] {
	s := driver.View[T](r.alloc(n * int(unsafe.Sizeof(part[0]))))
	for lo := 0; lo < n; lo += len(part) {
		hi := min(n, lo+len(part))
		must(driver.Upload(r.dev, s.Sub(lo, hi), part[:hi-lo]))
	}
	return s
}

// ids is n numbers below limit, spread over all of it.
func ids(n, limit int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(uint64(i) * 2654435761 % uint64(limit))
	}
	return out
}

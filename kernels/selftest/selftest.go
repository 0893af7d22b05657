// Package selftest runs every kernel that training, selecting and generating launch once, on
// a shape of a few hundred numbers, on a device and on the host, and compares: what a GPU that
// nobody asked for by name must pass before it is taken. It takes well under a second where
// the driver has compiled the kernels before.
//
// It finds a device on which a kernel does not run, or is wrong outright: a layout that the
// hardware reads otherwise, a copy that misses. Tests of the kernels' packages find what is
// wrong at one shape or to the last bit.
package selftest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
)

// trial is one piece of work. run leaves its results with bench.result.
type trial struct {
	name string
	// allowed is how far off a number may be, as a share of the largest of its tensor.
	allowed float64
	run     func(b *bench)
}

// Shares by which results differ: float32 with another order of sums and the GPU's own exp,
// and what is rounded to bf16 on the way on one side alone (2^-8 a number, of which sums have
// a few).
const (
	float32Share = 1e-4
	bf16Share    = 2e-2
)

// Failure is a kernel that is not what the host computes, or does not run.
type Failure struct {
	Kernel string
	Err    error
}

// Error names the kernel.
func (f *Failure) Error() string { return f.Kernel + ": " + f.Err.Error() }

// Unwrap is what was wrong.
func (f *Failure) Unwrap() error { return f.Err }

// Run runs every trial on dev and on the host. Its error is the first *Failure.
func Run(dev driver.Launcher) error {
	host := cpu.New(1)
	defer host.Close()
	for _, t := range trials {
		if err := t.compare(dev, host); err != nil {
			return &Failure{t.name, err}
		}
	}
	return nil
}

func (t trial) compare(dev, host driver.Device) error {
	got, err := t.results(dev)
	if err != nil {
		return err
	}
	want, err := t.results(host)
	if err != nil {
		return fmt.Errorf("on the host: %w", err)
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d results, the host has %d", len(got), len(want))
	}
	for i := range want {
		if err := near(got[i], want[i], t.allowed); err != nil {
			return fmt.Errorf("result %d: %w", i, err)
		}
	}
	return nil
}

// near is an error where a number is further off than that share of the largest.
func near(got, want []float32, share float64) error {
	top := 0.0
	for _, v := range want {
		top = max(top, math.Abs(float64(v)))
	}
	for i, v := range want {
		if off := math.Abs(float64(got[i]) - float64(v)); !(off <= share*top) {
			return fmt.Errorf("number %d is %g, the host has %g", i, got[i], v)
		}
	}
	return nil
}

// results runs the trial on a device. What that answers to a launch, which panics, is the
// error.
func (t trial) results(dev driver.Device) (out [][]float32, err error) {
	b := &bench{dev: dev, random: rand.New(rand.NewPCG(1, 7))}
	defer func() {
		for _, release := range b.release {
			release()
		}
		if r := recover(); r != nil {
			fault, ok := r.(error)
			if !ok {
				panic(r)
			}
			err = errors.Join(err, fault)
		}
	}()
	t.run(b)
	return b.results, dev.Synchronize()
}

// bench is where a trial runs; the numbers it gives are the same on every device.
type bench struct {
	dev     driver.Device
	random  *rand.Rand
	release []func()
	results [][]float32
}

// fail ends the trial with an error.
func fail(err error) {
	if err != nil {
		panic(err)
	}
}

// put is x on the device.
func put[T driver.Element](b *bench, x []T) driver.Slice[T] {
	placed, release, err := driver.Place(b.dev, x)
	fail(err)
	b.release = append(b.release, release)
	return placed[0]
}

// zeros is n floats, 0 each.
func (b *bench) zeros(n int) driver.F32 { return put(b, make([]float32, n)) }

func (b *bench) draw(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(b.random.NormFloat64())
	}
	return x
}

// normal is n normal numbers.
func (b *bench) normal(n int) driver.F32 { return put(b, b.draw(n)) }

// positive is n numbers above a tenth.
func (b *bench) positive(n int) driver.F32 {
	x := b.draw(n)
	for i := range x {
		x[i] = x[i]*x[i] + 0.1
	}
	return put(b, x)
}

// half is n normal numbers in bf16.
func (b *bench) half(n int) driver.Slice[driver.BF16] {
	x := make([]driver.BF16, n)
	cast.NarrowHost(b.draw(n), x)
	return put(b, x)
}

// result keeps what is in x.
func (b *bench) result(x ...driver.F32) {
	for _, s := range x {
		v, err := driver.Read(b.dev, s)
		fail(err)
		b.results = append(b.results, append([]float32(nil), v...))
	}
}

// number keeps numbers of the host.
func (b *bench) number(v ...float64) {
	x := make([]float32, len(v))
	for i := range v {
		x[i] = float32(v[i])
	}
	b.results = append(b.results, x)
}

// ids is n numbers below limit.
func (b *bench) ids(n, limit int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = b.random.Int32N(int32(limit))
	}
	return out
}

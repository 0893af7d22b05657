// Package selftest runs every kernel that training, selection and generation launch once, on
// a shape of a few hundred numbers, on a device and on the host, and compares: a GPU that
// the user did not name must pass it before it is used. It takes well under a second if the
// driver has compiled the kernels before.
//
// It finds a device on which a kernel does not run, or is wrong outright: a layout that the
// hardware reads differently, a copy that misses. The tests of the kernels' packages find
// what is wrong with one shape or in the last bit.
package selftest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/kernels/cast"
)

// trial is one test. run passes its results to bench.result.
type trial struct {
	name string
	// allowed is the largest error of a number, relative to the largest of its tensor.
	allowed float64
	run     func(b *bench)
}

// Relative differences between results: of float32 with another order of sums and the GPU's
// own exp, and of results that only one side rounds to bf16 (2^-8 for a number, and sums
// have a few).
const (
	float32Share = 1e-4
	bf16Share    = 2e-2
)

// Failure is a kernel with another result than the host's, or that does not run.
type Failure struct {
	Kernel string
	Err    error
}

// Error names the kernel.
func (f *Failure) Error() string { return f.Kernel + ": " + f.Err.Error() }

// Unwrap is the reason.
func (f *Failure) Unwrap() error { return f.Err }

// Run runs every trial on dev and on the host. Its error is the first *Failure.
func Run(dev driver.Launcher) error {
	host := cpu.New(1)
	defer host.Close()
	for _, t := range slices.Concat(trials, halfTrials, clusterTrials, expertTrials) {
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

// near returns an error if a number differs by more than that share of the largest.
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

// results runs the trial on a device. The error of a launch, which panics, is returned as an
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

// bench runs a trial on a device; the numbers it generates are the same on every device.
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

// put copies x to the device.
func put[T driver.Element](b *bench, x []T) driver.Slice[T] {
	placed, release, err := driver.Place(b.dev, x)
	fail(err)
	b.release = append(b.release, release)
	return placed[0]
}

// zeros returns n floats of 0.
func (b *bench) zeros(n int) driver.F32 { return put(b, make([]float32, n)) }

func (b *bench) draw(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(b.random.NormFloat64())
	}
	return x
}

// normal returns n normal numbers.
func (b *bench) normal(n int) driver.F32 { return put(b, b.draw(n)) }

// positive returns n numbers above a tenth.
func (b *bench) positive(n int) driver.F32 {
	x := b.draw(n)
	for i := range x {
		x[i] = x[i]*x[i] + 0.1
	}
	return put(b, x)
}

// half returns n normal numbers in bf16.
func (b *bench) half(n int) driver.Slice[driver.BF16] {
	x := make([]driver.BF16, n)
	cast.NarrowHost(b.draw(n), x)
	return put(b, x)
}

// result records the content of x.
func (b *bench) result(x ...driver.F32) {
	for _, s := range x {
		v, err := driver.Read(b.dev, s)
		fail(err)
		b.results = append(b.results, append([]float32(nil), v...))
	}
}

// number records numbers of the host.
func (b *bench) number(v ...float64) {
	x := make([]float32, len(v))
	for i := range v {
		x[i] = float32(v[i])
	}
	b.results = append(b.results, x)
}

// ids returns n numbers below limit.
func (b *bench) ids(n, limit int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = b.random.Int32N(int32(limit))
	}
	return out
}

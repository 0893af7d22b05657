// Package ptx is how a kernel's contract reaches its PTX: the family's text is loaded
// on a device when it is first launched there, and what every launch needs besides
// the arguments (functions, packed arguments, scratch memory, small integer tables)
// is kept per device, so that a launch allocates nothing.
//
// The contracts return no errors, as the host twins cannot fail. What the device
// answers to a launch (a fault of the interpreter, no memory for scratch, a dead GPU)
// panics with an *Error; errors.As finds the device's own error in it.
package ptx

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"dataflex.dev/dataflex/driver"
)

// Family is the text of one PTX file: some entries, and what is declared of their
// parameters.
type Family struct {
	name     string
	embedded string // the text, or its zstd frame
	unpack   sync.Once
	text     string
	declared []declaration
}

// New names a family's PTX, which it embeds: the text, or what kernels/build packs it
// into.
func New(name, embedded string) *Family {
	f := &Family{name: name, embedded: embedded}
	mu.Lock()
	defer mu.Unlock()
	families = append(families, f)
	return f
}

// Families are all there are in this binary, in the order of their packages.
func Families() []*Family {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(families)
}

// Name is what errors call the family.
func (f *Family) Name() string { return f.name }

// Text is its PTX, unpacked when it is first asked for.
func (f *Family) Text() string {
	f.unpack.Do(func() {
		text, err := Unpack(f.embedded)
		if err != nil { // the program's own bytes
			panic(fmt.Sprintf("ptx: %s: %v", f.name, err))
		}
		f.text = text
	})
	return f.text
}

// Replace puts other text in the family's place, for tests that plant bugs; undo puts the
// first one back. Devices that have loaded the family keep what they have.
func (f *Family) Replace(text string) (undo func()) {
	whole := f.Text()
	f.text = text
	return func() { f.text = whole }
}

// Error is what a device answered to a launch.
type Error struct {
	Op  string
	Err error
}

// Error names the kernel or what else was asked for.
func (e *Error) Error() string { return "ptx: " + e.Op + ": " + e.Err.Error() }

// Unwrap is the device's error.
func (e *Error) Unwrap() error { return e.Err }

func must(op string, err error) {
	if err != nil {
		panic(&Error{op, err})
	}
}

// Queue is one device's kernels. Like the device it serves one goroutine at a time.
type Queue struct {
	dev        driver.Launcher
	functions  map[kernel]driver.Function
	modules    map[*Family]driver.Module
	args       driver.Args
	scratch    [maxScratch]driver.Memory
	uploads    []upload
	constants  []constant
	tensorMaps map[tensorKey]driver.EncodedTensorMap
}

type kernel struct {
	family *Family
	name   string
}

var (
	mu       sync.Mutex
	families []*Family
)

// On returns the device's queue, which ends with the device.
func On(dev driver.Launcher) *Queue {
	slot := dev.Attached()
	if q, ok := (*slot).(*Queue); ok {
		return q
	}
	q := &Queue{dev: dev, functions: map[kernel]driver.Function{}, modules: map[*Family]driver.Module{}, tensorMaps: map[tensorKey]driver.EncodedTensorMap{}}
	*slot = q
	return q
}

// Grid is a launch of x blocks of threads without dynamic shared memory.
func Grid(x, threads int) driver.Config {
	return driver.Config{Grid: driver.Dim{X: x}, Block: driver.Dim{X: threads}}
}

// Grid2 is the same with y rows of blocks.
func Grid2(x, y, threads int) driver.Config {
	if y == 0 {
		x = 0
	}
	return driver.Config{Grid: driver.Dim{X: x, Y: y}, Block: driver.Dim{X: threads}}
}

// Blocks is n/size rounded up.
func Blocks(n, size int) int { return (n + size - 1) / size }

// function finds an entry, which takes parameters laid out like that.
func (q *Queue) function(f *Family, name string, l *Layout) driver.Function {
	k := kernel{f, name}
	if fn := q.functions[k]; fn != nil {
		return fn
	}
	if f.Layout(name) != l {
		panic(fmt.Sprintf("ptx: %s is launched with a %s, which is not what was declared", name, l.Type))
	}
	m := q.modules[f]
	if m == nil {
		var err error
		m, err = q.dev.LoadModule(f.name, []byte(f.Text()))
		must("loading "+f.name, err)
		q.modules[f] = m
	}
	fn, err := m.Function(name)
	must(name, err)
	if n := fn.Attributes().LocalBytes; n != 0 { // once, as the function is kept
		slog.Warn("the driver's compiler spills registers of a kernel: it is slower than it should be on this GPU, its results are the same",
			"kernel", name, "bytes_per_thread", n, "device", q.dev.Attributes().Name)
	}
	q.functions[k] = fn
	return fn
}

// Hopper reports whether dev runs sm_90a kernels: compute capability 9.0 and no other.
// Everywhere else a family's sm_80 text is the one.
func Hopper(dev driver.Device) bool { return dev.Attributes().Capability == 90 }

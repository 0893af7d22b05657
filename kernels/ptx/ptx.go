// Package ptx connects a kernel's contract with its PTX: the family's text is loaded on a
// device when it is first launched there, and what every launch needs besides the arguments
// (functions, packed arguments, scratch memory, small integer tables) is kept per device, so
// that a launch allocates nothing.
//
// The contracts return no errors, because the host twins cannot fail. The error of a launch
// (a fault of the interpreter, no memory for scratch, a dead GPU) is a panic with an *Error;
// errors.As finds the device's own error in it.
package ptx

import (
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"dataflex.dev/dataflex/driver"
)

// Family is the text of one PTX file: its entries, and the declarations of their parameters.
type Family struct {
	name     string
	embedded string // the text, or packed
	unpack   sync.Once
	text     string
	declared []declaration
}

// New registers a family with its embedded PTX: the text, or what kernels/build packs it
// into.
func New(name, embedded string) *Family {
	f := &Family{name: name, embedded: embedded}
	mu.Lock()
	defer mu.Unlock()
	families = append(families, f)
	return f
}

// Families are all families in this binary, in the order of their packages.
func Families() []*Family {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(families)
}

// Name is what errors call the family.
func (f *Family) Name() string { return f.name }

// Text is its PTX, unpacked at the first call.
func (f *Family) Text() string {
	f.unpack.Do(func() {
		text, err := Unpack(f.embedded)
		if err != nil { // cannot happen: they are the program's own bytes
			panic(fmt.Sprintf("ptx: %s: %v", f.name, err))
		}
		f.text = text
	})
	return f.text
}

// Replace replaces the family's text, for tests that plant bugs; undo restores it. Devices
// that have loaded the family keep what they have.
func (f *Family) Replace(text string) (undo func()) {
	whole := f.Text()
	f.text = text
	return func() { f.text = whole }
}

// Error is the error of a launch.
type Error struct {
	Op  string
	Err error
}

// Error names the kernel, or the operation.
func (e *Error) Error() string { return "ptx: " + e.Op + ": " + e.Err.Error() }

// Unwrap is the device's error.
func (e *Error) Unwrap() error { return e.Err }

func must(op string, err error) {
	if err != nil {
		panic(&Error{op, err})
	}
}

// Queue launches kernels on one device. Like the device it is used by one goroutine at a
// time.
type Queue struct {
	dev        driver.Launcher
	functions  map[kernel]driver.Function
	modules    map[*Family]driver.Module
	args       driver.Args
	scratch    [maxScratch]driver.Memory
	uploads    []upload
	constants  []constant
	tensorMaps map[tensorKey]driver.EncodedTensorMap
	refused    map[*Family]bool // families that the device does not launch
}

type kernel struct {
	family *Family
	name   string
}

var (
	mu       sync.Mutex
	families []*Family
)

// On returns the device's queue, which lives as long as the device.
func On(dev driver.Launcher) *Queue {
	slot := dev.Attached()
	if q, ok := (*slot).(*Queue); ok {
		return q
	}
	q := &Queue{dev: dev, functions: map[kernel]driver.Function{}, modules: map[*Family]driver.Module{}, tensorMaps: map[tensorKey]driver.EncodedTensorMap{}, refused: map[*Family]bool{}}
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

// function returns an entry, whose parameters must have that layout.
func (q *Queue) function(f *Family, name string, l *Layout) driver.Function {
	k := kernel{f, name}
	if fn := q.functions[k]; fn != nil {
		return fn
	}
	if f.Layout(name) != l {
		panic(fmt.Sprintf("ptx: %s is launched with a %s, which was not declared for it", name, l.Type))
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
	if n := fn.Attributes().LocalBytes; n != 0 { // once, because the function is kept
		slog.Warn("the driver's compiler spills registers of a kernel: it is slower than it should be on this GPU, its results are the same",
			"kernel", name, "bytes_per_thread", n, "device", q.dev.Attributes().Name)
	}
	q.functions[k] = fn
	return fn
}

// Hopper reports whether dev runs sm_90a kernels: compute capability 9.0 and no other. All
// other devices use a family's sm_80 text.
func Hopper(dev driver.Device) bool { return dev.Attributes().Capability == 90 }

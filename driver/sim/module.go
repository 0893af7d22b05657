package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dataflex.dev/dataflex/driver"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Module is decoded PTX. It implements driver.Module.
type Module struct {
	m    *module
	dev  *Device
	vars []driver.Memory
}

// Function is a kernel of a Module. It implements driver.Function.
type Function struct {
	k    *kernel
	idle chan *cluster // clusters kept for the next launch
}

// LoadModule decodes PTX text. An unknown construct is an error with its line.
func (d *Device) LoadModule(name string, ptx []byte) (driver.Module, error) {
	m, err := parseModule(name, string(ptx))
	if err != nil {
		return nil, fmt.Errorf("sim: %w", err)
	}
	mod := &Module{m: m, dev: d}
	for _, v := range m.vars {
		if v.space == "shared" {
			continue
		}
		mem, err := d.AllocNamed(v.name, v.size)
		if err != nil {
			return nil, fmt.Errorf("sim: %s: variable %s: %w", name, v.name, err)
		}
		if err := d.CopyIn(mem, v.init); err != nil {
			return nil, err
		}
		setWritten(d.find(uint64(mem.Addr())).set) // variables without an initialiser are zero
		v.addr = uint64(mem.Addr())
		mod.vars = append(mod.vars, mem)
	}
	for _, n := range m.order {
		if err := m.kernels[n].decode(); err != nil {
			return nil, fmt.Errorf("sim: kernel %s: %w", n, err)
		}
	}
	return mod, nil
}

// Function returns a kernel.
func (m *Module) Function(name string) (driver.Function, error) {
	k := m.m.kernels[name]
	if k == nil {
		return nil, fmt.Errorf("sim: %s has no kernel %q; it has %s", m.m.name, name, strings.Join(m.m.order, ", "))
	}
	return &Function{k: k, idle: make(chan *cluster, m.dev.opt.Workers)}, nil
}

// Functions lists the kernels in the order of the text.
func (m *Module) Functions() []string { return slices.Clone(m.m.order) }

// Unload frees the module's variables.
func (m *Module) Unload() error {
	for _, v := range m.vars {
		m.dev.Free(v)
	}
	m.vars = nil
	return nil
}

// Name is the kernel's.
func (f *Function) Name() string { return f.k.name }

// Params returns the place of each parameter in the packed arguments.
func (f *Function) Params() []driver.Span {
	out := make([]driver.Span, len(f.k.params))
	for i, p := range f.k.params {
		out[i] = driver.Span{Offset: p.offset, Size: p.size}
	}
	return out
}

// Attributes are taken from the PTX, where registers are virtual.
func (f *Function) Attributes() driver.FunctionAttributes {
	return driver.FunctionAttributes{
		SharedBytes: f.k.static - sharedBase, LocalBytes: f.k.localBytes,
		MaxThreads: f.k.maxThreads, ParamBytes: f.k.paramBytes,
	}
}

// stream and event need no ordering: work is done when it is issued.
type stream struct{}

func (stream) Record(e driver.Event) error {
	ev, ok := e.(*event)
	if !ok {
		return fmt.Errorf("sim: an event of another device (%T)", e)
	}
	ev.at = time.Now()
	return nil
}
func (stream) Wait(driver.Event) error { return nil }
func (stream) Synchronize() error      { return nil }
func (stream) Close() error            { return nil }

type event struct{ at time.Time }

func (*event) Synchronize() error { return nil }
func (*event) Close() error       { return nil }

func (e *event) Since(earlier driver.Event) (time.Duration, error) {
	o, ok := earlier.(*event)
	if !ok || o.at.IsZero() || e.at.IsZero() {
		return 0, fmt.Errorf("sim: time between events that were not both recorded")
	}
	return e.at.Sub(o.at), nil
}

// NewStream makes a stream; all streams run in the order of issue.
func (d *Device) NewStream() (driver.Stream, error) { return stream{}, nil }

// NewEvent makes an event. Its times are the interpreter's, not a GPU's.
func (d *Device) NewEvent() (driver.Event, error) { return &event{}, nil }

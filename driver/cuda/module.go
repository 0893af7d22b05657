//go:build cuda && cgo && linux

package cuda

import (
	gobytes "bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorgonia.org/cu"

	"dataflex.dev/dataflex/driver"
)

// logSize is the largest number of bytes of the JIT compiler's log in an error.
const logSize = 16 << 10

// module is PTX that the driver has compiled for d.
type module struct {
	d       *Device
	name    string
	m       cu.Module
	entries map[string]entry
}

// LoadModule has the driver compile PTX text. The error carries the compiler's log, which
// names the line, and the versions that must match.
func (d *Device) LoadModule(name string, ptx []byte) (driver.Module, error) {
	head, entries, err := scan(ptx)
	if err != nil {
		return nil, fmt.Errorf("cuda: load %s: %w", name, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("cuda: load %s: the PTX text has no .entry", name)
	}
	m := &module{d: d, name: name, entries: entries}
	log := &cu.JITErrorLogBuffer{Buffer: make([]byte, logSize)}
	err = d.do("cuModuleLoadDataEx", func() int {
		mod, err := cu.LoadDataEx(string(ptx), log)
		m.m = mod
		return code(err)
	})
	if err != nil {
		err = fmt.Errorf("cuda: load %s (PTX %s for %s; %s is sm_%d, driver CUDA %s): %w", name,
			head.version, head.target, d.props.Name, d.props.SM(), versionText(d.props.DriverVersion), err)
		if text := strings.TrimSpace(string(gobytes.TrimRight(log.Buffer, "\x00"))); text != "" {
			err = fmt.Errorf("%w\n%s", err, text)
		}
		return nil, err
	}
	return m, nil
}

// Function returns an entry with the compiler's figures for it.
func (m *module) Function(name string) (driver.Function, error) {
	e, ok := m.entries[name]
	if !ok {
		return nil, fmt.Errorf("cuda: %s has no kernel %s; it has %s", m.name, name,
			strings.Join(slices.Sorted(maps.Keys(m.entries)), ", "))
	}
	f := &function{d: m.d, name: name, entry: e}
	if err := m.d.do("cuModuleGetFunction", func() int {
		fn, err := m.m.Function(name)
		f.fn = fn
		return code(err)
	}); err != nil {
		return nil, fmt.Errorf("cuda: kernel %s of %s: %w", name, m.name, err)
	}
	f.attr.ParamBytes = e.bytes
	const maxDynamicShared cu.FunctionAttribute = 8 // not in gorgonia.org/cu
	for _, a := range []struct {
		attribute cu.FunctionAttribute
		value     *int
	}{
		{cu.NumRegs, &f.attr.Registers},
		{cu.SharedSizeBytes, &f.attr.SharedBytes},
		{cu.LocalSizeBytes, &f.attr.LocalBytes},
		{cu.FnMaxThreadsPerBlock, &f.attr.MaxThreads},
		{maxDynamicShared, &f.dynamic},
	} {
		if err := m.d.do("cuFuncGetAttribute", func() (c int) {
			var err error
			*a.value, err = f.fn.Attribute(a.attribute)
			return code(err)
		}); err != nil {
			return nil, fmt.Errorf("cuda: attribute %d of kernel %s: %w", a.attribute, name, err)
		}
	}
	return f, nil
}

// Unload frees the compiled code; its functions must not be launched any more.
func (m *module) Unload() error {
	return m.d.do("cuModuleUnload", func() int { return code(m.m.Unload()) })
}

package asmtest

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"
)

// Call runs f. Arguments are int, uintptr, float32, bool and pointers to numbers, in the
// order of the function's parameters; every pointer points into one of the slices of
// allowed, outside of which memory must not be touched. No slices at all allow everything.
func (f *Function) Call(allowed [][]float32, args ...any) (err error) {
	var regions []Region
	for _, s := range allowed {
		regions = append(regions, In(s))
	}
	return f.CallWithin(regions, args...)
}

// Region is memory that a call may touch.
type Region [2]uintptr

// In is the memory of a slice.
func In[T any](s []T) Region {
	lo := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	return Region{lo, lo + uintptr(len(s))*unsafe.Sizeof(*new(T))}
}

// CallWithin is Call with memory of any type.
func (f *Function) CallWithin(regions []Region, args ...any) (err error) {
	defer runtime.KeepAlive(args)
	m := machine{regions: regions}
	if err := m.push(args); err != nil {
		return err
	}
	for pc, steps := 0, 0; ; steps++ {
		if pc == len(f.code) || steps == 1<<26 {
			return fmt.Errorf("%s does not return", f.name)
		}
		in := &f.code[pc]
		if in.op == "RET" {
			return m.checkLeft()
		}
		pc++
		if operations[in.op](&m, in) {
			pc = in.target
		}
		if m.err != nil {
			return fmt.Errorf("%s, line %d, %s: %w", f.name, in.line, in.text, m.err)
		}
	}
}

// machine is the processor's state.
type machine struct {
	general [15]uint64
	vector  [32]lanes
	frame   []byte // the arguments
	regions []Region
	tiles   [8]tileData
	tiled   bool // the tiles are configured
	zero    bool // flags
	sign    bool
	err     error
}

// lanes is a vector register as 32-bit words.
type lanes [16]uint32

// push lays out the arguments as ABI0 does: each aligned to its size.
func (m *machine) push(args []any) error {
	put := func(size int, v uint64) {
		for len(m.frame)%size != 0 {
			m.frame = append(m.frame, 0)
		}
		for range size {
			m.frame = append(m.frame, byte(v))
			v >>= 8
		}
	}
	for _, a := range args {
		switch a := a.(type) {
		case int:
			put(8, uint64(a))
		case uintptr:
			put(8, uint64(a))
		case *float32:
			put(8, uint64(uintptr(unsafe.Pointer(a))))
		case *float64:
			put(8, uint64(uintptr(unsafe.Pointer(a))))
		case *uint16:
			put(8, uint64(uintptr(unsafe.Pointer(a))))
		case *uint32:
			put(8, uint64(uintptr(unsafe.Pointer(a))))
		case *byte:
			put(8, uint64(uintptr(unsafe.Pointer(a))))
		case float32:
			put(4, uint64(math.Float32bits(a)))
		case bool:
			put(1, uint64(*(*byte)(unsafe.Pointer(&a))))
		default:
			return fmt.Errorf("argument of type %T", a)
		}
	}
	return nil
}

// checkLeft demands what Go code expects of a function that returns: the upper halves of
// the low 16 vector registers are zero (VZEROUPPER), and no tiles are left (TILERELEASE).
func (m *machine) checkLeft() error {
	if m.tiled {
		return fmt.Errorf("tiles are configured on return")
	}
	for r := range 16 {
		for _, v := range m.vector[r][4:] {
			if v != 0 {
				return fmt.Errorf("vector register %d has a dirty upper half on return", r)
			}
		}
	}
	return nil
}

// at is the memory of n bytes that o names.
func (m *machine) at(o operand, n int) unsafe.Pointer {
	if o.kind == argument {
		if o.disp+n > len(m.frame) {
			m.err = fmt.Errorf("reads past the arguments")
			return unsafe.Pointer(&lanes{})
		}
		return unsafe.Pointer(&m.frame[o.disp])
	}
	addr := uintptr(m.address(o))
	inside := len(m.regions) == 0
	for _, r := range m.regions {
		inside = inside || addr >= r[0] && addr+uintptr(n) <= r[1]
	}
	if !inside {
		m.err = fmt.Errorf("%d bytes at %#x lie outside the operands", n, addr)
		return unsafe.Pointer(&lanes{})
	}
	return *(*unsafe.Pointer)(unsafe.Pointer(&addr))
}

func (m *machine) address(o operand) uint64 {
	a := m.general[o.base] + uint64(o.disp)
	if o.index >= 0 {
		a += m.general[o.index] * uint64(o.scale)
	}
	return a
}

// get reads a vector operand of n words.
func (m *machine) get(o operand, n int) (v lanes) {
	if o.kind == vector {
		return m.vector[o.reg]
	}
	copy(v[:n], unsafe.Slice((*uint32)(m.at(o, 4*n)), n))
	return v
}

// set writes the n words of a vector; the rest of a register becomes zero.
func (m *machine) set(o operand, v lanes, n int) {
	if o.kind == vector {
		clear(v[n:])
		m.vector[o.reg] = v
		return
	}
	copy(unsafe.Slice((*uint32)(m.at(o, 4*n)), n), v[:n])
}

// integer reads a 64-bit operand.
func (m *machine) integer(o operand) uint64 {
	switch o.kind {
	case immediate:
		return o.value
	case general:
		return m.general[o.reg]
	}
	return *(*uint64)(m.at(o, 8))
}

// setFlags is the outcome of an integer operation. Sums here do not overflow.
func (m *machine) setFlags(v uint64) uint64 {
	m.zero, m.sign = v == 0, int64(v) < 0
	return v
}

package ptx

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"unsafe"

	"dataflex.dev/dataflex/driver"
)

// Kernels are entries of a family that take the same parameters: the fields of the struct P,
// in order. All launches pass their parameters in this way.
//
// A field is a pointer (uintptr: a device address, 0 for null), a uint64 or int64, a uint32,
// int32 or float32, an array of those, a driver.EncodedTensorMap, or a struct of such
// fields, which the kernel takes by value. Go and C lay out such a struct equally on the
// 64-bit machines that have devices; TestLayouts compares every P with what the PTX declares
// and reads.
type Kernels[P any] struct {
	family *Family
	layout *Layout
}

// One is the parameters of a kernel that takes a single struct.
type One[T any] struct{ P T }

// Declare declares that the entries of f with these names take a P. A name that ends in *
// stands for all entries with that prefix.
func Declare[P any](f *Family, names ...string) Kernels[P] {
	l := layoutOf(reflect.TypeFor[P]())
	for _, n := range names {
		f.declared = append(f.declared, declaration{n, l})
	}
	return Kernels[P]{f, l}
}

// Flag is b as a kernel's parameter.
func Flag(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// Launch queues one kernel; for a grid without blocks it does nothing.
func (k Kernels[P]) Launch(q *Queue, name string, c driver.Config, p *P) {
	must(name, k.launch(q, name, c, p))
}

func (k Kernels[P]) launch(q *Queue, name string, c driver.Config, p *P) error {
	if c.Grid.X == 0 {
		return nil
	}
	fn := q.function(k.family, name, k.layout)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(p)), unsafe.Sizeof(*p))
	q.args.Reset()
	for _, f := range k.layout.Parameters {
		q.args.Bytes(raw[f.Offset:f.Offset+f.Size], f.Align)
	}
	return q.dev.Launch(fn, c, &q.args)
}

// Try is Launch of a kernel that a device may refuse, for which there is another one. It
// reports whether the kernel was queued; the first refusal is logged, and a family of which
// a kernel was refused is not tried again on the device.
func (k Kernels[P]) Try(q *Queue, name string, c driver.Config, p *P) bool {
	if q.refused[k.family] {
		return false
	}
	err := k.launch(q, name, c, p)
	if errors.Is(err, driver.ErrRefused) {
		slog.Warn("the device refuses a kernel; a slower one with the same results runs instead", "kernel", name, "device", q.dev.Attributes().Name, "error", err)
		q.refused[k.family] = true
		return false
	}
	must(name, err)
	return true
}

// Layout is the layout of a parameter struct's fields in a launch's packed bytes.
type Layout struct {
	Type       string
	Parameters []Field // one per parameter
	Values     []Field // the numbers and pointers of which they consist; a tensor map is one value
}

// Field is one value of a parameter struct.
type Field struct {
	Name                string
	Offset, Size, Align int
	Float               bool
}

// mapAlign is the alignment of a tensor map, which cannot be declared in Go.
const mapAlign = 64

func layoutOf(t reflect.Type) *Layout {
	l := &Layout{Type: t.String()}
	at := 0 // the next parameter's offset in the C ABI
	for f := range t.Fields() {
		p := Field{Name: f.Name, Offset: int(f.Offset), Size: int(f.Type.Size()), Align: alignment(f.Type)}
		if at = (at + p.Align - 1) / p.Align * p.Align; at != p.Offset {
			panic(fmt.Sprintf("ptx: %s.%s is at offset %d, a kernel takes it at %d", t, f.Name, p.Offset, at))
		}
		at += p.Size
		l.Parameters = append(l.Parameters, p)
		l.values(f.Name, p.Offset, f.Type)
	}
	return l
}

var tensorMap = reflect.TypeFor[driver.EncodedTensorMap]()

// alignment is t's alignment in C: that of a tensor map where it has one.
func alignment(t reflect.Type) int {
	switch {
	case t == tensorMap:
		return mapAlign
	case t.Kind() == reflect.Array:
		return alignment(t.Elem())
	case t.Kind() == reflect.Struct:
		most := t.Align()
		for f := range t.Fields() {
			most = max(most, alignment(f.Type))
		}
		return most
	}
	return t.Align()
}

// values lists the numbers of a field of type t.
func (l *Layout) values(name string, offset int, t reflect.Type) {
	switch k := t.Kind(); {
	case t == tensorMap:
		l.Values = append(l.Values, Field{Name: name, Offset: offset, Size: int(t.Size()), Align: mapAlign})
	case k == reflect.Struct:
		for f := range t.Fields() {
			l.values(name+"."+f.Name, offset+int(f.Offset), f.Type)
		}
	case k == reflect.Array:
		for i := range t.Len() {
			l.values(fmt.Sprintf("%s[%d]", name, i), offset+i*int(t.Elem().Size()), t.Elem())
		}
	case slices.Contains([]reflect.Kind{reflect.Uintptr, reflect.Uint64, reflect.Int64, reflect.Uint32, reflect.Int32, reflect.Float32}, k):
		l.Values = append(l.Values, Field{Name: name, Offset: offset, Size: int(t.Size()), Align: t.Align(), Float: k == reflect.Float32})
	default:
		panic(fmt.Sprintf("ptx: no kernel takes a %s (%s)", t, name))
	}
}

// declaration is the argument of a Declare.
type declaration struct {
	name   string
	layout *Layout
}

// Layout returns the declared layout of an entry; nil unless there is exactly one.
func (f *Family) Layout(entry string) *Layout {
	var found *Layout
	for _, d := range f.declared {
		prefix, all := strings.CutSuffix(d.name, "*")
		if d.name != entry && (!all || !strings.HasPrefix(entry, prefix)) {
			continue
		}
		if found != nil {
			return nil
		}
		found = d.layout
	}
	return found
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"dataflex.dev/dataflex/data/pyjson"
)

// column is a named node of a schema; parquet.Group itself would sort columns by name.
type column struct {
	parquet.Node
	name string
}

// Name implements parquet.Field.
func (c column) Name() string { return c.name }

// Value implements parquet.Field; rows are written as values, not from Go types.
func (c column) Value(base reflect.Value) reflect.Value {
	return base.MapIndex(reflect.ValueOf(c.name))
}

// group is a group with ordered columns.
type group struct {
	parquet.Group
	columns []parquet.Field
}

// Fields implements parquet.Node.
func (g group) Fields() []parquet.Field { return g.columns }

func newGroup(columns []column) group {
	g := group{Group: parquet.Group{}}
	for _, c := range columns {
		g.Group[c.name] = c.Node
		g.columns = append(g.columns, c)
	}
	return g
}

// shape is the type of a column's values, over all rows.
type shape struct {
	kind    reflect.Kind // Invalid while all are null; Bool, Int, Float64, String, Slice, Struct
	element *shape       // of a list
	names   []string     // of an object's members, in order of first appearance
	members map[string]*shape
}

// parquet writes a parquet file in two passes over the rows: one for the types, one for the
// values.
func (w *pickWriter) parquet(ctx context.Context, f io.Writer) error {
	if native, err := w.native(ctx, f); native || err != nil {
		return err
	}
	all := &shape{}
	row := func(r scored, object []byte) (pyjson.Object, error) {
		if err := fresh(object); err != nil {
			return nil, err
		}
		o, err := pyjson.DecodeObject(object)
		return append(o, r.columns()...), err
	}
	if err := w.each(ctx, func(r scored, object []byte) error {
		o, err := row(r, object)
		if err != nil {
			return err
		}
		return all.take("", o)
	}); err != nil {
		return err
	}
	root := all.node().(group)
	out := parquet.NewGenericWriter[any](f, parquet.NewSchema("rows", root), parquet.Compression(&parquet.Snappy))
	if err := w.each(ctx, func(r scored, object []byte) error {
		o, err := row(r, object)
		if err != nil {
			return err
		}
		_, err = out.WriteRows([]parquet.Row{shred(all, o)})
		return err
	}); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}

// take extends the shape by a value; where describes the value for errors.
func (s *shape) take(where string, v any) error {
	kind := kindOf(v)
	switch {
	case kind == reflect.Invalid:
		return nil
	case s.kind == reflect.Invalid:
		s.kind = kind
	case s.kind == reflect.Int && kind == reflect.Float64:
		s.kind = kind
	case s.kind == reflect.Float64 && kind == reflect.Int:
	case s.kind != kind:
		return fmt.Errorf("column %s is %s here and %s in an earlier row, which a parquet column cannot be: write a .jsonl file", strings.TrimPrefix(where, "."), words[kind], words[s.kind])
	}
	switch v := v.(type) {
	case pyjson.Number:
		return fmt.Errorf("column %s holds %s, which is not a 64-bit integer: write a .jsonl file", strings.TrimPrefix(where, "."), v)
	case []any:
		if s.element == nil {
			s.element = &shape{}
		}
		for _, x := range v {
			if err := s.element.take(where+"[]", x); err != nil {
				return err
			}
		}
	case pyjson.Object:
		for _, f := range v {
			if s.members == nil {
				s.members = map[string]*shape{}
			}
			if s.members[f.Key] == nil {
				s.names = append(s.names, f.Key)
				s.members[f.Key] = &shape{}
			}
			if err := s.members[f.Key].take(where+"."+f.Key, f.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

var words = map[reflect.Kind]string{
	reflect.Bool: "true or false", reflect.Int: "a number", reflect.Float64: "a number", reflect.String: "text", reflect.Slice: "a list", reflect.Struct: "an object",
}

func kindOf(v any) reflect.Kind {
	switch v := v.(type) {
	case bool:
		return reflect.Bool
	case int, pyjson.Number:
		return reflect.Int
	case float64:
		return reflect.Float64
	case string:
		return reflect.String
	case []any:
		return reflect.Slice
	case pyjson.Object:
		if len(v) > 0 { // parquet has no group without members: {} becomes null
			return reflect.Struct
		}
	}
	return reflect.Invalid
}

// node is the shape as a parquet node: everything may be null, lists have Arrow's three levels.
func (s *shape) node() parquet.Node {
	switch s.kind {
	case reflect.Bool:
		return parquet.Leaf(parquet.BooleanType)
	case reflect.Int:
		return parquet.Leaf(parquet.Int64Type)
	case reflect.Float64:
		return parquet.Leaf(parquet.DoubleType)
	case reflect.Slice:
		return parquet.List(parquet.Optional(s.element.node()))
	case reflect.Struct:
		var columns []column
		for _, name := range s.names {
			columns = append(columns, column{parquet.Optional(s.members[name].node()), name})
		}
		return newGroup(columns)
	}
	return parquet.String()
}

// leaves is the number of leaf columns of a shape.
func (s *shape) leaves() int {
	n := 0
	switch s.kind {
	case reflect.Slice:
		return s.element.leaves()
	case reflect.Struct:
		for _, m := range s.members {
			n += m.leaves()
		}
		return n
	}
	return 1
}

// shred splits a row into the values of its leaf columns, with their repetition and definition
// levels (Melnik et al., Dremel, VLDB 2010).
func shred(s *shape, o pyjson.Object) parquet.Row {
	d := shredder{}
	d.object(s, o, level{})
	slices.SortStableFunc(d.row, func(a, b parquet.Value) int { return cmp.Compare(a.Column(), b.Column()) })
	return d.row
}

type shredder struct {
	row  parquet.Row
	leaf int // the next column
}

// level is the position of a value: which list it continues (0 = a new row), how far down the
// path it is not null, and how many lists enclose it.
type level struct{ rep, def, lists int }

// put adds a value to the next column.
func (d *shredder) put(v parquet.Value, l level) {
	d.row = append(d.row, v.Level(l.rep, l.def, d.leaf))
	d.leaf++
}

// object adds the members of an object.
func (d *shredder) object(s *shape, o pyjson.Object, l level) {
	for _, name := range s.names {
		d.optional(s.members[name], o.Get(name), l)
	}
}

// optional adds a value that may be null.
func (d *shredder) optional(s *shape, v any, l level) {
	if kindOf(v) == reflect.Invalid {
		d.nulls(s.leaves(), l)
		return
	}
	l.def++
	switch v := v.(type) {
	case []any:
		d.list(s, v, l)
	case pyjson.Object:
		d.object(s, v, l)
	default:
		d.put(scalar(s.kind, v), l)
	}
}

func (d *shredder) nulls(n int, l level) {
	for range n {
		d.put(parquet.NullValue(), l)
	}
}

// list adds the elements of a list; each starts again at the list's first column.
func (d *shredder) list(s *shape, elements []any, l level) {
	first := d.leaf
	if len(elements) == 0 {
		d.nulls(s.element.leaves(), l)
	}
	l.def, l.lists = l.def+1, l.lists+1
	for i, x := range elements {
		d.leaf = first
		if i > 0 {
			l.rep = l.lists
		}
		d.optional(s.element, x, l)
	}
}

func scalar(kind reflect.Kind, v any) parquet.Value {
	switch v := v.(type) {
	case bool:
		return parquet.BooleanValue(v)
	case int:
		if kind == reflect.Float64 {
			return parquet.DoubleValue(float64(v))
		}
		return parquet.Int64Value(int64(v))
	case float64:
		return parquet.DoubleValue(v)
	case string:
		return parquet.ByteArrayValue([]byte(v))
	}
	return parquet.DoubleValue(math.NaN())
}

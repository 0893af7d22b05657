package dataset

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/task"
)

// parquetRows reads a parquet file and returns each row as the JSON object it would be in a
// .jsonl file, so that both kinds are handled alike afterwards. Only the requested columns are
// read; the others appear as null, for messages that list the names.
type parquetRows struct {
	source  source
	file    *parquet.File
	columns []*parquetNode
	wanted  []bool
	group   int   // the next row group
	left    int64 // rows of the current one
	number  int
}

func newParquetRows(s source, names []string) (rowReader, io.Closer, error) {
	f, err := storage.OpenInput(s.path)
	if err != nil {
		return nil, nil, err
	}
	r := &parquetRows{source: s}
	if err := task.Catch(func() error { return r.open(f, names) }); err != nil { // the library panics on some damaged files
		return nil, nil, errors.Join(fmt.Errorf("%s: not a parquet file, or cut off: %v", s.path, err), f.Close())
	}
	return r, f, nil
}

func (r *parquetRows) open(f storage.File, names []string) error {
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if r.file, err = parquet.OpenFile(f, stat.Size(), parquet.SkipBloomFilters(true), parquet.SkipPageIndex(true)); err != nil {
		return err
	}
	for _, c := range r.file.Root().Columns() {
		r.columns = append(r.columns, newParquetNode(c))
		r.wanted = append(r.wanted, names == nil || slices.Contains(names, c.Name()))
	}
	return nil
}

func (r *parquetRows) header() []string { return nil }

func (r *parquetRows) next() (out row, err error) {
	// The library panics on some damaged pages.
	defer func() {
		if p := recover(); p != nil {
			err = r.fail(fmt.Errorf("damaged page: %v", p))
		}
	}()
	for r.left == 0 {
		groups := r.file.RowGroups()
		if r.group == len(groups) {
			return row{}, io.EOF
		}
		r.openGroup(groups[r.group])
		r.group++
	}
	text := []byte{'{'}
	for i, c := range r.columns {
		if i > 0 {
			text = append(text, ',')
		}
		if text, err = jsontext.AppendQuote(text, c.name); err != nil {
			return row{}, r.fail(err)
		}
		text = append(text, ':')
		if !r.wanted[i] {
			text = append(text, "null"...)
		} else if text, err = c.append(text, 0, 0); err != nil {
			return row{}, r.fail(fmt.Errorf("column '%s': %w", c.name, err))
		}
		if len(text) > longestRow {
			return row{}, r.fail(fmt.Errorf("the row is longer than the limit of %d MiB", longestRow>>20))
		}
	}
	out = row{number: r.number, object: append(text, '}')}
	r.number++
	r.left--
	return out, nil
}

func (r *parquetRows) openGroup(g parquet.RowGroup) {
	r.left = g.NumRows()
	chunks := g.ColumnChunks()
	for i, c := range r.columns {
		if r.wanted[i] {
			for _, leaf := range c.leaves {
				leaf.open(chunks[leaf.index])
			}
		}
	}
}

func (r *parquetRows) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the file is cut off here: %w", io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("%s, row %d: %w", r.source.path, r.number, err)
}

// parquetNode is a column or a part of one. Parquet stores only leaves, each value with a
// repetition level (which list it continues) and a definition level (how far down the path it
// is not null); append assembles them again (Melnik et al., Dremel, VLDB 2010).
type parquetNode struct {
	name               string
	optional, repeated bool
	list               bool // a group around one repeated child that is the list itself
	children           []*parquetNode
	leaves             []*parquetLeaf // all leaves below; of a leaf, itself
}

func newParquetNode(c *parquet.Column) *parquetNode {
	n := &parquetNode{name: c.Name(), optional: c.Optional(), repeated: c.Repeated()}
	if c.Leaf() {
		n.leaves = []*parquetLeaf{{index: c.Index()}}
		return n
	}
	for _, child := range c.Columns() {
		k := newParquetNode(child)
		n.children = append(n.children, k)
		n.leaves = append(n.leaves, k.leaves...)
	}
	if t := c.Type().LogicalType(); t != nil && len(n.children) == 1 && n.children[0].repeated {
		_, n.list = t.Value.(*format.ListType)
	}
	return n
}

// append appends the node's next value as JSON; rep and def are the levels above it.
func (n *parquetNode) append(dst []byte, rep, def int) ([]byte, error) {
	if n.optional {
		def++
		v, err := n.leaves[0].peek()
		if err != nil {
			return dst, err
		}
		if v.DefinitionLevel() < def {
			return append(dst, "null"...), n.skip()
		}
	}
	if n.repeated {
		return n.elements(dst, rep, def, n.content)
	}
	return n.content(dst, rep, def)
}

// elements appends a list of the values that one appends.
func (n *parquetNode) elements(dst []byte, rep, def int, one func(dst []byte, rep, def int) ([]byte, error)) ([]byte, error) {
	rep, def = rep+1, def+1
	v, err := n.leaves[0].peek()
	if err != nil {
		return dst, err
	}
	if v.DefinitionLevel() < def {
		return append(dst, "[]"...), n.skip()
	}
	dst = append(dst, '[')
	for {
		if dst, err = one(dst, rep, def); err != nil {
			return dst, err
		}
		v, err := n.leaves[0].peek()
		if err != nil && err != io.EOF {
			return dst, err
		}
		if err == io.EOF || v.RepetitionLevel() < rep {
			return append(dst, ']'), nil
		}
		dst = append(dst, ',')
	}
}

// content appends the value of a node that is neither null nor a list.
func (n *parquetNode) content(dst []byte, rep, def int) ([]byte, error) {
	if n.children == nil {
		v, err := n.leaves[0].peek()
		if err != nil {
			return dst, err
		}
		n.leaves[0].at++
		return appendScalar(dst, v)
	}
	if n.list {
		inner := n.children[0]
		one := inner.content
		// Usually there are three levels, and the repeated group only wraps the element. In the
		// old form with two levels it is the element itself.
		if len(inner.children) == 1 && inner.name != "array" && inner.name != n.name+"_tuple" {
			one = inner.children[0].append
		}
		return inner.elements(dst, rep, def, one)
	}
	var err error
	dst = append(dst, '{')
	for i, c := range n.children {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = jsontext.AppendQuote(dst, c.name); err != nil {
			return dst, err
		}
		dst = append(dst, ':')
		if dst, err = c.append(dst, rep, def); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}

// skip consumes the one value that every leaf stores for a null or an empty list.
func (n *parquetNode) skip() error {
	for _, leaf := range n.leaves {
		if _, err := leaf.peek(); err != nil {
			return err
		}
		leaf.at++
	}
	return nil
}

// parquetLeaf reads the values of a leaf column, page by page.
type parquetLeaf struct {
	index  int
	pages  parquet.Pages
	page   parquet.Page
	values parquet.ValueReader // of page
	buffer [128]parquet.Value
	at, n  int // next and end in buffer
}

func (l *parquetLeaf) open(c parquet.ColumnChunk) {
	l.pages, l.page, l.values = c.Pages(), nil, nil
	l.at, l.n = 0, 0
}

// peek returns the next value, valid until the next peek after at moves on; io.EOF
// after the last of the row group.
func (l *parquetLeaf) peek() (parquet.Value, error) {
	for l.at == l.n {
		if l.values == nil {
			if l.page != nil {
				parquet.Release(l.page)
				l.page = nil
			}
			page, err := l.pages.ReadPage()
			if err != nil {
				return parquet.Value{}, err
			}
			l.page, l.values = page, page.Values()
		}
		n, err := l.values.ReadValues(l.buffer[:])
		if err == io.EOF {
			l.values = nil
		} else if err != nil {
			return parquet.Value{}, err
		}
		l.at, l.n = 0, n
	}
	return l.buffer[l.at], nil
}

// appendScalar appends a value as JSON. Bytes are text; other kinds (dates, decimals) are the
// numbers they are stored as, which no text column accepts.
func appendScalar(dst []byte, v parquet.Value) ([]byte, error) {
	if v.IsNull() {
		return append(dst, "null"...), nil
	}
	switch v.Kind() {
	case parquet.Boolean:
		return strconv.AppendBool(dst, v.Boolean()), nil
	case parquet.Int32:
		return strconv.AppendInt(dst, int64(v.Int32()), 10), nil
	case parquet.Int64:
		return strconv.AppendInt(dst, v.Int64(), 10), nil
	case parquet.Float, parquet.Double:
		f := v.Double()
		if v.Kind() == parquet.Float {
			f = float64(v.Float())
		}
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return append(dst, "null"...), nil
		}
		return strconv.AppendFloat(dst, f, 'g', -1, 64), nil
	case parquet.ByteArray, parquet.FixedLenByteArray:
		if !utf8.Valid(v.ByteArray()) {
			return dst, errors.New("it holds bytes that are not UTF-8 text")
		}
		return jsontext.AppendQuote(dst, v.ByteArray())
	}
	return dst, fmt.Errorf("a value of type %s is not read", v.Kind())
}

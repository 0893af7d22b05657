package dataset

import (
	"fmt"
	"io"
)

// What a data file may ask of memory. Real ones stay far below.
const (
	longestRow = 256 << 20 // bytes of one row's text

	// An archive may unpack to so many times its size; up to freeExpansion it is not asked.
	mostExpansion = 200
	freeExpansion = 1 << 30

	zstdWindow = 128 << 20 // as the zstd program's own limit
)

// allowance is a reader that fails when a row goes on for too long: whoever reads rows
// renews it with every row.
type allowance struct {
	r    io.Reader
	left int64
}

func (a *allowance) renew() { a.left = longestRow }

func (a *allowance) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, fmt.Errorf("the row is longer than %d MiB, which no row is: a bracket, a quote or a line end is missing", longestRow>>20)
	}
	n, err := a.r.Read(b)
	a.left -= int64(n)
	return n, err
}

// boundedRows renews the allowance of the rows it reads.
type boundedRows struct {
	rowReader
	allowance *allowance
}

func (r boundedRows) next() (row, error) {
	r.allowance.renew()
	return r.rowReader.next()
}

// expansion is what an archive unpacks to: it fails where that is no longer data.
type expansion struct {
	r     io.Reader
	size  int64 // of the archive
	total int64
}

func (e *expansion) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if e.total += int64(n); e.total > freeExpansion && e.total/mostExpansion > e.size {
		return 0, fmt.Errorf("its %d bytes unpack to more than %d times as many: this is no data file; unpack it if it is one", e.size, mostExpansion)
	}
	return n, err
}

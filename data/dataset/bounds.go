package dataset

import (
	"fmt"
	"io"
)

// Limits on the memory that a data file may require. Real files stay far below.
const (
	longestRow = 256 << 20 // bytes of one row's text

	// An archive may expand to so many times its size; below freeExpansion any ratio is
	// accepted.
	mostExpansion = 200
	freeExpansion = 1 << 30

	zstdWindow = 128 << 20 // the zstd program's own limit
)

// allowance is a reader that fails when a row is too long; whoever reads rows renews it for
// every row.
type allowance struct {
	r    io.Reader
	left int64
}

func (a *allowance) renew() { a.left = longestRow }

func (a *allowance) Read(b []byte) (int, error) {
	if a.left <= 0 {
		return 0, fmt.Errorf("the row is longer than the limit of %d MiB: a bracket, a quote or a line end is missing", longestRow>>20)
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

// expansion reads a decompressed file and fails where it expands too far to be real data.
type expansion struct {
	r     io.Reader
	size  int64 // of the archive
	total int64
}

func (e *expansion) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	if e.total += int64(n); e.total > freeExpansion && e.total/mostExpansion > e.size {
		return 0, fmt.Errorf("its %d bytes unpack to more than %d times as many: this is probably not a data file; unpack it if it is one", e.size, mostExpansion)
	}
	return n, err
}

package dataset

import (
	"context"
	"errors"
	"io"
	"sync"

	"dataflex/data"
)

// A batch ends at whichever comes first: large enough that handing it over costs
// nothing, small enough that a few of them in flight are little memory.
const (
	batchRows  = 512
	batchBytes = 1 << 20
)

// batch is a run of rows of one file on its way to a worker.
type batch struct {
	number int
	source source
	header []string
	base   int
	rows   []row
}

// converter turns rows into samples on several goroutines while the caller reads.
// Samples come out in the order of the rows, and of several faults the first row's
// is reported.
type converter struct {
	ctx     context.Context
	attr    *attributes
	work    chan batch
	workers sync.WaitGroup
	batches int

	mu      sync.Mutex
	done    [][]data.Sample
	err     error
	errAt   int
	stopped bool
}

func newConverter(ctx context.Context, a *attributes, threads int) *converter {
	c := &converter{ctx: ctx, attr: a, work: make(chan batch, threads)}
	for range threads {
		c.workers.Go(func() {
			for b := range c.work {
				samples, err := b.convert(a)
				c.store(b.number, samples, err)
			}
		})
	}
	return c
}

func (b batch) convert(a *attributes) ([]data.Sample, error) {
	names := a.columns()
	r := &record{attr: a, source: b.source, header: b.header, base: b.base, names: names, cells: make([]cell, len(names))}
	out := make([]data.Sample, 0, len(b.rows))
	for _, w := range b.rows {
		if err := r.fill(w, b.source.kind == "csv"); err != nil {
			return nil, r.errorf("%w", err)
		}
		s, err := r.sample()
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (c *converter) store(number int, samples []data.Sample, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.done) <= number {
		c.done = append(c.done, nil)
	}
	c.done[number] = samples
	if err != nil && (c.err == nil || number < c.errAt) {
		c.err, c.errAt, c.stopped = err, number, true
	}
}

// fail records a fault of reading, which comes after every batch handed out so far.
func (c *converter) fail(err error) { c.store(c.batches, nil, err) }

func (c *converter) halted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// feed reads a file that starts at row base of the dataset, at most limit rows (-1 =
// all), and returns how many it read.
func (c *converter) feed(s source, base, limit int) (n int, err error) {
	rows, closer, err := s.reader()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	b := batch{source: s, header: rows.header(), base: base}
	size := 0
	flush := func() {
		if len(b.rows) > 0 {
			b.number = c.batches
			c.batches++
			c.work <- b
		}
		b.rows, size = nil, 0
	}
	defer flush()
	for n != limit && !c.halted() {
		w, err := rows.next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
		b.rows = append(b.rows, w)
		size += len(w.object)
		for _, f := range w.fields {
			size += len(f)
		}
		if len(b.rows) == batchRows || size >= batchBytes {
			flush()
			if err := c.ctx.Err(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// finish waits for the workers and returns every sample.
func (c *converter) finish() ([]data.Sample, error) {
	close(c.work)
	c.workers.Wait()
	if c.err != nil {
		return nil, c.err
	}
	total := 0
	for _, d := range c.done {
		total += len(d)
	}
	out := make([]data.Sample, 0, total)
	for i, d := range c.done {
		out = append(out, d...)
		c.done[i] = nil
	}
	return out, c.ctx.Err()
}

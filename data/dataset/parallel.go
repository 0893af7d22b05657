package dataset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/task"
)

// A batch ends at whichever comes first: large enough that handing it over is cheap, small
// enough that a few of them in flight need little memory.
const (
	batchRows  = 512
	batchBytes = 1 << 20
)

// inFlight is how many batches per worker may be between the reader and the sink.
const inFlight = 3

// Each reads a dataset in bounded memory, at most limit rows (0 = all): work receives runs of
// samples, on several goroutines (threads 0 = GOMAXPROCS), and sink its results one at a time,
// in the order of the rows. Samples that cannot be trained on are among them, marked Broken,
// and so are those with a Fault, for the caller to raise (Locate) or to ignore. Of several
// errors the first row's is returned; work and sink may fail, too. A column that no row has is
// an error, detected at the end.
func Each[T any](ctx context.Context, s *Source, limit, threads int, work func([]data.Sample) (T, error), sink func(T) error) error {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	p := &pipe[T]{
		ctx: ctx, source: s, sink: sink, batches: make(chan batch, threads), slots: make(chan struct{}, inFlight*threads), done: map[int]result[T]{},
	}
	var workers task.Group
	for range threads {
		workers.Go(func() {
			for b := range p.batches {
				p.put(b.number, convert(b, s.attr, work))
			}
		})
	}
	err := p.read(limit)
	close(p.batches)
	workers.Wait()
	if p.err != nil { // of a row before the reader's
		err = p.err
	}
	if err != nil {
		return Locate(err)
	}
	if err := s.attr.missing(p.found, s.files); err != nil && limit > 0 {
		return Each(ctx, s, 0, threads, discard, func([]data.Sample) error { return nil }) // a later row may have the column
	} else if err != nil {
		return fmt.Errorf("dataset %s: %w", s.Name, err)
	}
	s.nullWords = p.found.words
	return nil
}

func discard([]data.Sample) ([]data.Sample, error) { return nil, nil }

// batch is a run of rows of one file, to be converted by a worker.
type batch struct {
	number int
	source source
	header []string
	base   int
	rows   []row
}

// result is the outcome of a batch.
type result[T any] struct {
	value T
	found found
	err   error
}

// convert turns a batch's rows into samples and runs work on them.
func convert[T any](b batch, a *attributes, work func([]data.Sample) (T, error)) (r result[T]) {
	r.err = task.Catch(func() error { // a panic belongs to its row: it is reported in order with the other errors
		samples, found, err := b.samples(a)
		if err != nil {
			return err
		}
		r.found = found
		r.value, err = work(samples)
		return err
	})
	return r
}

func (b batch) samples(a *attributes) ([]data.Sample, found, error) {
	names := a.columns()
	r := &record{attr: a, source: b.source, header: b.header, base: b.base, names: names, cells: make([]cell, len(names))}
	out := make([]data.Sample, 0, len(b.rows))
	for _, w := range b.rows {
		if err := r.fill(w, b.source.kind == "csv"); err != nil {
			return nil, r.found, fmt.Errorf("dataset %s: %w", a.name, b.source.syntax(err, w))
		}
		if r.found.first == nil {
			r.found.first = r.has()
		}
		out = append(out, r.sample())
	}
	return out, r.found, nil
}

// pipe passes the rows of a dataset from its files through the workers to the sink.
type pipe[T any] struct {
	ctx     context.Context
	source  *Source
	sink    func(T) error
	batches chan batch
	slots   chan struct{} // one per batch between reader and sink
	handed  int           // batches handed out

	mu      sync.Mutex
	done    map[int]result[T] // finished, waiting for an earlier one
	next    int               // batch that the sink gets next
	found   found
	err     error
	stopped atomic.Bool
}

// put passes results to the sink as far as they are in order. After the first error they are
// only counted.
func (p *pipe[T]) put(number int, r result[T]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[number] = r
	for {
		r, ok := p.done[p.next]
		if !ok {
			return
		}
		delete(p.done, p.next)
		p.next++
		if p.err == nil {
			p.found.add(r.found)
			if p.err = r.err; p.err == nil {
				p.err = task.Catch(func() error { return p.sink(r.value) })
			}
			p.stopped.Store(p.err != nil)
		}
		<-p.slots
	}
}

// read reads the dataset's files.
func (p *pipe[T]) read(limit int) error {
	total := 0
	for _, f := range p.source.files {
		rows := limit - total
		if limit == 0 {
			rows = -1
		} else if rows == 0 {
			break
		}
		n, err := p.file(f, total, rows)
		total += n
		if err != nil {
			return fmt.Errorf("dataset %s: %w", p.source.Name, err)
		}
	}
	if total == 0 {
		return fmt.Errorf("dataset %s is empty: %s holds no row", p.source.Name, strings.Join(p.source.Files(), ", "))
	}
	return nil
}

// file reads a file that starts at row base of the dataset, at most limit rows (-1 =
// all), and returns how many it read.
func (p *pipe[T]) file(s source, base, limit int) (n int, err error) {
	rows, closer, err := s.reader(p.source.attr.columns())
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	b := batch{source: s, header: rows.header(), base: base}
	size := 0
	flush := func() {
		if len(b.rows) > 0 {
			p.slots <- struct{}{}
			b.number = p.handed
			p.handed++
			p.batches <- b
		}
		b.rows, size = nil, 0
	}
	defer flush()
	for n != limit && !p.stopped.Load() {
		w, err := rows.next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n++
		b.rows = append(b.rows, w)
		size += w.size()
		if len(b.rows) == batchRows || size >= batchBytes {
			flush()
			if err := p.ctx.Err(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

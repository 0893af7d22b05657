package cache

import (
	"context"
	"sync"
	"time"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/progress"
)

// part is a contiguous range of a dataset's rows, encoded in the file's layout.
type part struct {
	encoded []int32
	most    int32
	rows    []encodedRow // at counts from the start of encoded
	dropped map[int]processor.Dropped
	faults  map[int]error
	subtask map[int]string // of rows that have one
}

// parts recycles the memory of parts that were written.
var parts = sync.Pool{New: func() any { return new(part) }}

// encode tokenises a dataset.
func (b *builder) encode(ctx context.Context, name string) error {
	s := b.sets[name]
	s.dropped, s.faults = map[int32]processor.Dropped{}, map[int32]error{}
	rows := newSpill[encodedRow](b.spillAfter, b.folder.Path())
	defer closeAll(rows)
	started := time.Now()
	meter := progress.New(b.o.Log, "tokenising "+name, s.source.Limit(b.o.MaxSamples))
	err := dataset.Each(ctx, s.source, s.source.Limit(b.o.MaxSamples), b.o.Process.Threads, b.encodeBatch, func(p *part) error {
		defer parts.Put(p)
		at, err := b.rows.add(p.encoded, p.most)
		if err != nil {
			return b.writing(err)
		}
		first := rows.len()
		for i, d := range p.dropped {
			s.dropped[int32(first+i)] = d
		}
		for i, err := range p.faults {
			s.faults[int32(first+i)] = err
		}
		for i, r := range p.rows {
			r.at += at
			if name := p.subtask[i]; name != "" {
				r.subtask = b.subtask(name)
			}
			if err := rows.add(r); err != nil {
				return b.writing(err)
			}
		}
		meter.Add(len(p.rows))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if s.rows, s.unmap, err = rows.all(); err != nil {
		return b.writing(err)
	}
	b.warnings = append(b.warnings, s.source.Notes()...)
	b.o.Log.Info("tokenised", "dataset", name, "rows", len(s.rows), "seconds", time.Since(started).Round(time.Millisecond).Seconds())
	return nil
}

// subtask returns the number of a subtask.
func (b *builder) subtask(name string) int32 {
	n, ok := b.subtaskOf[name]
	if !ok {
		b.subtasks = append(b.subtasks, name)
		n = int32(len(b.subtasks))
		b.subtaskOf[name] = n
	}
	return n
}

func (b *builder) encodeBatch(samples []data.Sample) (*part, error) {
	p := parts.Get().(*part)
	p.encoded, p.rows, p.most, p.dropped, p.faults, p.subtask = p.encoded[:0], p.rows[:0], 0, nil, nil, nil
	for i := range samples {
		ex, d, err := b.encoder.Encode(&samples[i])
		if err != nil {
			if p.faults == nil {
				p.faults = map[int]error{}
			}
			p.faults[i] = err
			p.rows = append(p.rows, encodedRow{labels: -1})
			continue
		}
		if d != nil {
			if p.dropped == nil {
				p.dropped = map[int]processor.Dropped{}
			}
			p.dropped[i] = *d
			p.rows = append(p.rows, encodedRow{labels: -1})
			continue
		}
		if ex.Subtask != "" {
			if p.subtask == nil {
				p.subtask = map[int]string{}
			}
			p.subtask[i] = ex.Subtask
		}
		var e entry
		p.encoded, e, p.most = appendRow(p.encoded, ex, p.most)
		p.rows = append(p.rows, encodedRow{at: e.at, n: e.n, labels: e.labelled, same: e.flags&sameLabels != 0, weighted: e.flags&hasWeight != 0})
	}
	return p, nil
}

package cache

import (
	"context"
	"errors"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
)

// forgetEvery is how many int32s of a mapping are read before its pages are released.
const forgetEvery = 64 << 20

// packer is the setWriter of rows that are packed from encoded ones.
type packer struct {
	*builder
	mapped  []byte
	ids     []int32
	unmap   func() error
	read    int
	encoded []int32
}

func (b *builder) newPacker() (*packer, error) {
	if err := b.rows.buf.Flush(); err != nil {
		return nil, b.writing(err)
	}
	p := &packer{builder: b}
	var err error
	if p.mapped, p.unmap, err = storage.Map(b.path(rowsFile)); err != nil {
		return nil, err
	}
	p.ids = asInts(p.mapped)
	if b.packed, err = createTokens(b.path(tokensFile)); err != nil {
		return nil, errors.Join(b.writing(err), p.unmap())
	}
	return p, nil
}

func (p *packer) close() {
	closeAll(p.packed.file)
	_ = p.unmap()
}

func (p *packer) pack(ctx context.Context, refs []ref) (n int, err error) {
	emit := func(ex data.Example) (err error) {
		var e entry
		var most int32
		p.encoded, e, most = appendRow(p.encoded[:0], ex, 0)
		if e.at, err = p.packed.add(p.encoded, most); err == nil {
			e.dataset = int32(p.number(ex.Dataset))
			err = p.index.add(e, ex.Members, p.number)
		}
		if err != nil {
			return p.writing(err)
		}
		n++
		return nil
	}
	for _, span := range p.encoder.Batches(len(refs)) {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		if err := p.encoder.Pack(p.batch(refs[span[0]:span[1]]), emit); err != nil {
			return n, err
		}
	}
	return n, nil
}

// batch returns the usable rows of refs as examples.
func (p *packer) batch(refs []ref) []data.Example {
	if p.read > forgetEvery {
		storage.Forget(p.mapped)
		p.read = 0
	}
	out := make([]data.Example, 0, len(refs))
	for _, r := range refs {
		e, usable := p.entry(r)
		if !usable {
			continue
		}
		ex := data.Example{ID: data.ID{Dataset: p.names[r.set], Row: int(r.row)}, InputIDs: p.ids[e.at : e.at+int64(e.n)]}
		ex.Labels = ex.InputIDs
		if e.flags&sameLabels == 0 {
			ex.Labels = p.ids[e.at+int64(e.n) : e.at+2*int64(e.n)]
		}
		out = append(out, ex)
		p.read += int(e.size())
	}
	return out
}

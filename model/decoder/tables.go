package decoder

import (
	"fmt"
	"math"
	"slices"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Adapters on the two tables of the vocabulary, the embeddings and the head, and tokens
// whose rows train by themselves (trainable_token_indices), as peft 0.18 has them:
// tuners/lora/layer.py Embedding, tuners/trainable_tokens/layer.py.

// tokenTable is a table some of whose rows train.
type tokenTable struct {
	table  *tensor.Param
	tokens *autograd.Tokens
	old    []float32 // what the table had in the rows' places
}

// attachTables puts on adapters of zeros and tokens' rows as they are in the tables. A
// tied model whose head and embeddings are to differ gets a head of its own.
func (m *Model) attachTables(l LoRA, on targets, shape func(path string) (rank int, scale float32)) error {
	head := slices.ContainsFunc(on.modules, func(mod module) bool { return mod.path == headPath })
	if err := on.clash(head, m.tied()); err != nil {
		return err
	}
	if head || on.embedding || !tokensTied(on.tokens) {
		if err := m.untie(); err != nil {
			return err
		}
	}
	if head {
		part := m.part(headPath)
		part.own = append(part.own, adapterTensors(m.head.LoRA)...)
	}
	if on.embedding {
		rank, scale := shape(embeddingPath)
		if err := m.adaptEmbedding(l, rank, scale); err != nil {
			return err
		}
	}
	for _, rows := range on.tokens {
		if err := m.trainTokens(rows); err != nil {
			return err
		}
	}
	return nil
}

// clash is the error of a table with both an adapter and tokens, which PEFT cannot run
// either.
func (t targets) clash(head, tied bool) error {
	for _, rows := range t.tokens {
		if lora := map[string]bool{embeddingPath: t.embedding, headPath: head}; lora[rows.Path] || (tied && (head || t.embedding)) {
			return fmt.Errorf("trainable_token_indices names rows of %s, which target_modules names as well (of a tied model either is both): PEFT computes nothing with such an adapter", rows.Path)
		}
	}
	return nil
}

// tokensTied reports whether tokens, if any, are those of the embeddings alone, which a
// tied head shares.
func tokensTied(tokens []checkpoint.TokenRows) bool {
	return !slices.ContainsFunc(tokens, func(r checkpoint.TokenRows) bool { return r.Path == headPath })
}

// part is the leaf of that path.
func (m *Model) part(path string) *part {
	i := slices.IndexFunc(m.parts, func(p part) bool { return p.path == path })
	return &m.parts[i]
}

func (m *Model) adaptEmbedding(l LoRA, rank int, scale float32) error {
	name := prefix + embeddingPath
	a, err := m.trained(name+".lora_embedding_A", rank, m.config.Vocab)
	if err != nil {
		return err
	}
	b, err := m.trained(name+".lora_embedding_B", m.config.Hidden, rank)
	if err != nil {
		return err
	}
	m.embedding.LoRA = &autograd.EmbeddingLoRA{A: a, B: b, Rank: rank, Scale: scale}
	if l.DoRA {
		magnitude, err := m.trained(name+".lora_magnitude_vector", m.config.Hidden)
		if err != nil {
			return err
		}
		m.embedding.LoRA.DoRA = &autograd.DoRA{Magnitude: magnitude}
	}
	part := m.part(embeddingPath)
	part.own = append(part.own, m.embedding.LoRA.Tensors()...)
	return nil
}

// startEmbedding draws B of the embeddings' adapter from N(0, 1), A being zero, as PEFT
// does: by Box and Muller from uniform.
func (m *Model) startEmbedding(uniform func() float64) error {
	a := m.embedding.LoRA
	if a == nil {
		return nil
	}
	b := make([]float32, a.B.Size())
	for i := range b {
		radius := math.Sqrt(-2 * math.Log(1-uniform()))
		b[i] = float32(radius * math.Cos(2*math.Pi*uniform()))
	}
	return a.B.Upload(m.dev, b)
}

// startColumnMagnitudes makes DoRA's magnitudes of the embeddings the norms of the
// adapted table's columns.
func (m *Model) startColumnMagnitudes() error {
	a := m.embedding.LoRA
	if a == nil || a.DoRA == nil {
		return nil
	}
	plain := *a
	plain.DoRA = nil
	w, err := plain.Merged(m.dev, m.embed)
	if err != nil {
		return err
	}
	d := m.config.Hidden
	squares, norms := make([]float64, d), make([]float32, d)
	for i, x := range w {
		squares[i%d] += float64(x) * float64(x)
	}
	for j, s := range squares {
		norms[j] = float32(math.Sqrt(s))
	}
	return a.DoRA.Magnitude.Upload(m.dev, norms)
}

// trainTokens makes rows of a table train, from what they are in it.
func (m *Model) trainTokens(rows checkpoint.TokenRows) error {
	table, d := m.embed, m.config.Hidden
	if rows.Path == headPath {
		table = m.head.Weight
	}
	w, err := table.Read(m.dev)
	if err != nil {
		return err
	}
	old := make([]float32, 0, len(rows.Index)*d)
	for _, id := range rows.Index {
		if id < 0 || int(id) >= m.config.Vocab {
			return fmt.Errorf("trainable_token_indices has the token %d of %s, the model's vocabulary has %d entries", id, rows.Path, m.config.Vocab)
		}
		old = append(old, w[int(id)*d:(int(id)+1)*d]...)
	}
	p, err := m.trained(prefix+rows.Path+".token_adapter.trainable_tokens_delta", len(rows.Index), d)
	if err != nil {
		return err
	}
	part := m.part(rows.Path)
	part.own = append(part.own, p)
	if err := p.Upload(m.dev, old); err != nil {
		return err
	}
	k := autograd.NewTokens(p, rows.Index)
	if rows.Path == embeddingPath {
		m.embedding.Tokens = k
	}
	if table == m.head.Weight {
		m.head.Tokens = k
	}
	m.adapter.tokens = append(m.adapter.tokens, tokenTable{table, k, old})
	return nil
}

// placeTokens puts rows that train by themselves into their tables, as they are now.
func (m *Model) placeTokens() {
	if m.adapter == nil {
		return
	}
	for _, t := range m.adapter.tokens {
		t.tokens.Place(m.dev, t.table)
	}
}

// adaptedTables reports whether an adapter or tokens train on the embeddings or the head.
func (m *Model) adaptedTables() bool {
	return m.embedding.LoRA != nil || m.head.LoRA != nil || m.embedding.Tokens != nil || m.head.Tokens != nil
}

// mergeTables adds the embeddings' adapter to them, and leaves tokens' rows where they
// belong.
func (m *Model) mergeTables() error {
	m.placeTokens()
	m.adapter.tokens = slices.DeleteFunc(m.adapter.tokens, func(t tokenTable) bool { t.tokens.Rows.Free(m.dev); return true })
	a := m.embedding.LoRA
	if a == nil {
		return nil
	}
	w, err := a.Merged(m.dev, m.embed)
	if err == nil {
		err = m.embed.Upload(m.dev, w)
	}
	if err != nil {
		return fmt.Errorf("merging the adapter of %s: %w", embeddingPath, err)
	}
	return nil
}

// dropTables takes adapters and tokens off the tables, which get their rows back.
func (m *Model) dropTables() {
	for _, t := range m.adapter.tokens {
		if err := t.tokens.Rows.Upload(m.dev, t.old); err == nil {
			t.tokens.Place(m.dev, t.table)
		}
		t.tokens.Rows.Free(m.dev)
	}
	if a := m.embedding.LoRA; a != nil {
		a.A.Free(m.dev)
		a.B.Free(m.dev)
		if a.DoRA != nil {
			a.DoRA.Free(m.dev)
		}
	}
	m.embedding.LoRA, m.embedding.Tokens, m.head.Tokens = nil, nil, nil
	for i := range m.parts {
		m.parts[i].own = nil
	}
}

// baseName is the name that PEFT saves a table under that an adapter is on.
func baseName(path string) string { return prefix + path + ".base_layer.weight" }

// bases are the tables that PEFT saves beside the adapters on them.
func (m *Model) bases() (paths []string) {
	if !m.toPEFT().SavesEmbeddings() {
		return nil
	}
	if m.embedding.LoRA != nil {
		paths = append(paths, embeddingPath)
	}
	if m.head.LoRA != nil {
		paths = append(paths, headPath)
	}
	return paths
}

// table is the embeddings or the head.
func (m *Model) table(path string) *tensor.Param {
	if path == headPath {
		return m.head.Weight
	}
	return m.embed
}

// readBases reads the tables that were saved beside their adapters: they count, as they
// do in PEFT.
func (m *Model) readBases(w *checkpoint.Weights) error {
	for _, path := range []string{embeddingPath, headPath} {
		name := baseName(path)
		shape, ok := w.Shape(name)
		if !ok {
			continue
		}
		p := m.table(path)
		if !slices.Equal(shape, p.Shape) {
			return fmt.Errorf("%s: tensor %q has shape %v, the model's is %v", w.Path(name), name, shape, p.Shape)
		}
		if err := m.fill(p, w, name); err != nil {
			return err
		}
	}
	return nil
}

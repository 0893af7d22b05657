package decoder

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"dataflex.dev/dataflex/model/autograd"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/tensor"
)

// Adapters on the embeddings and the head, and single trained rows of these tables
// (trainable_token_indices), as in peft 0.18: tuners/lora/layer.py Embedding,
// tuners/trainable_tokens/layer.py.

// tokenTable is an embedding table or a head of which some rows train.
type tokenTable struct {
	table  *tensor.Param
	tokens *autograd.Tokens
	old    []float32 // the table's rows before training
}

// attachTables adds adapters of zeros, and trainable rows with the tables' values. A tied
// model whose head and embeddings will differ gets a separate head.
func (m *Model) attachTables(l LoRA, on targets, shape func(path string) (rank int, scale float32)) error {
	head := slices.ContainsFunc(on.modules, func(mod module) bool { return mod.path == m.tables().Head })
	if err := on.clash(m.tables(), head, m.tied()); err != nil {
		return err
	}
	if head || on.embedding || !m.tokensTied(on.tokens) {
		if err := m.untie(); err != nil {
			return err
		}
	}
	if head || !m.tokensTied(on.tokens) || (m.tied() && len(on.tokens) > 0) {
		if err := m.widenHead(); err != nil {
			return err
		}
	}
	if head {
		part := m.part(m.tables().Head)
		part.own = append(part.own, adapterTensors(m.head.LoRA)...)
	}
	if on.embedding {
		rank, scale := shape(m.tables().Embedding)
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

// widenHead converts a bf16 head to float32 where a linear layer cannot multiply it in bf16,
// because its rows of logits are no multiple of 16 bytes.
func (m *Model) widenHead() error {
	p := m.head.Weight
	if !p.Narrows() || m.config.Vocab%chunk == 0 {
		return nil
	}
	w, err := p.Read(m.dev)
	if err != nil {
		return err
	}
	wide, err := tensor.New(m.dev, p.Name, p.Shape...)
	if err != nil {
		return err
	}
	if err := wide.Upload(m.dev, w); err != nil {
		wide.Free(m.dev)
		return err
	}
	p.Free(m.dev)
	*p = *wide
	return nil
}

// clash returns an error if a table has both an adapter and trainable rows, which PEFT cannot
// run either.
func (t targets) clash(tables checkpoint.Tables, head, tied bool) error {
	for _, rows := range t.tokens {
		if lora := map[string]bool{tables.Embedding: t.embedding, tables.Head: head}; lora[rows.Path] || (tied && (head || t.embedding)) {
			return fmt.Errorf("trainable_token_indices names rows of %s, which target_modules names as well (of a tied model either is both): PEFT computes nothing with such an adapter", rows.Path)
		}
	}
	return nil
}

// tokensTied reports whether the trained rows are only those of the embeddings, which a tied
// head shares.
func (m *Model) tokensTied(tokens []checkpoint.TokenRows) bool {
	return !slices.ContainsFunc(tokens, func(r checkpoint.TokenRows) bool { return r.Path == m.tables().Head })
}

// part is the module of that path.
func (m *Model) part(path string) *part {
	i := slices.IndexFunc(m.parts, func(p part) bool { return p.path == path })
	return &m.parts[i]
}

func (m *Model) adaptEmbedding(l LoRA, rank int, scale float32) error {
	name := prefix + m.tables().Embedding
	a, err := m.trained(tensor.New, name+".lora_embedding_A", rank, m.config.Vocab)
	if err != nil {
		return err
	}
	b, err := m.trained(tensor.New, name+".lora_embedding_B", m.config.Hidden, rank)
	if err != nil {
		return err
	}
	m.embedding.LoRA = &autograd.EmbeddingLoRA{A: a, B: b, Rank: rank, Scale: scale}
	if l.DoRA {
		magnitude, err := m.trained(tensor.New, name+".lora_magnitude_vector", m.config.Hidden)
		if err != nil {
			return err
		}
		m.embedding.LoRA.DoRA = &autograd.DoRA{Magnitude: magnitude}
	}
	part := m.part(m.tables().Embedding)
	part.own = append(part.own, m.embedding.LoRA.Tensors()...)
	return nil
}

// startEmbedding initialises B of the embeddings' adapter with draws from N(0, 1), by
// Box-Muller from uniform; A is zero. This is PEFT's initialisation.
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

// startColumnMagnitudes initialises DoRA's magnitudes of the embeddings with the norms of the
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

// trainTokens makes rows of a table trainable, starting from its values.
func (m *Model) trainTokens(rows checkpoint.TokenRows) error {
	table, d := m.embed, m.config.Hidden
	if rows.Path == m.tables().Head {
		table = m.head.Weight
	}
	if table.Sharded() { // rows are put into it before every pass
		return fmt.Errorf("trainable_token_indices: %s is shared out among the processes, stage 3: shard the optimizer's state and the gradients alone, stage 2", table.Name)
	}
	w, err := table.Read(m.dev)
	if err != nil {
		return err
	}
	for _, id := range rows.Index {
		if id < 0 || int(id) >= m.config.Vocab {
			return fmt.Errorf("trainable_token_indices has the token %d of %s, the model's vocabulary has %d entries", id, rows.Path, m.config.Vocab)
		}
	}
	old := rowsOf(w, rows.Index, d)
	p, err := m.trained(tensor.New, rows.Name, len(rows.Index), d)
	if err != nil {
		return err
	}
	part := m.part(rows.Path)
	part.own = append(part.own, p)
	if err := p.Upload(m.dev, old); err != nil {
		return err
	}
	k := autograd.NewTokens(p, rows.Index)
	if rows.Path == m.tables().Embedding {
		m.embedding.Tokens = k
	}
	if table == m.head.Weight {
		m.head.Tokens = k
	}
	m.adapter.tokens = append(m.adapter.tokens, tokenTable{table, k, old})
	return nil
}

// placeTokens copies the trainable rows into their tables.
func (m *Model) placeTokens() {
	if m.adapter == nil {
		return
	}
	for _, t := range m.adapter.tokens {
		t.tokens.Place(m.dev, t.table)
	}
}

// adaptedTables reports whether the embeddings or the head have an adapter or trainable rows.
func (m *Model) adaptedTables() bool {
	return m.embedding.LoRA != nil || m.head.LoRA != nil || m.embedding.Tokens != nil || m.head.Tokens != nil
}

// mergeTables merges the embeddings' adapter, and copies trained rows into the tables.
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
		return fmt.Errorf("merging the adapter of %s: %w", m.tables().Embedding, err)
	}
	return nil
}

// dropTables removes adapters and trainable rows, and restores the tables' rows.
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

// extraTensors returns the tensors that PEFT saves in addition to the adapter's own: the tables with
// an adapter, or both tables if the vocabulary has grown, and the trained rows once more for a
// tied head.
func (m *Model) extraTensors(c *checkpoint.AdapterConfig) ([]checkpoint.Tensor, error) {
	var tensors []checkpoint.Tensor
	add := func(p *tensor.Param, name string) error {
		t, err := m.stored(p)
		if t.Name = name; err == nil {
			t.F32 = m.withoutTokens(p, t.F32)
			tensors = append(tensors, t)
		}
		return err
	}
	grown := m.config.Vocab != m.rows && !c.SavesEmbeddings(m.tables())
	for _, path := range m.tables().Paths() {
		p, lora, tokens := m.embed, m.embedding.LoRA != nil, m.embedding.Tokens
		if path == m.tables().Head {
			p, lora, tokens = m.head.Weight, m.head.LoRA != nil, m.head.Tokens
		}
		names := checkpoint.TableNames(path)
		name := names[0]
		switch {
		case lora, tokens != nil && c.TokensOnly:
			name = names[1]
		case tokens != nil:
			name = names[2]
		}
		if !m.adapter.saves[p] && (grown || (lora && c.SavesEmbeddings(m.tables()))) {
			if err := add(p, name); err != nil {
				return nil, err
			}
			if path == m.tables().Head && m.head.Bias != nil {
				if err := add(m.head.Bias, biasName(name)); err != nil {
					return nil, err
				}
			}
		}
		if path == m.tables().Head && m.tied() && tokens != nil && (grown || c.TokensOnly) {
			if err := add(tokens.Rows, c.TokensName(m.tables().Head)); err != nil {
				return nil, err
			}
		}
	}
	return tensors, nil
}

// withoutTokens returns w, the values of table p, with the trained rows as they were before
// training.
func (m *Model) withoutTokens(p *tensor.Param, w []float32) []float32 {
	for _, t := range m.adapter.tokens {
		if t.table != p {
			continue
		}
		d := p.Shape[1]
		w = slices.Clone(w) // Read may return the weight's own memory
		for i, id := range t.tokens.Index {
			copy(w[int(id)*d:(int(id)+1)*d], t.old[i*d:(i+1)*d])
		}
	}
	return w
}

// readTables reads the tables saved beside the adapter, which replace the model's, as in PEFT.
func (m *Model) readTables(w *checkpoint.Weights) error {
	for _, path := range m.tables().Paths() {
		for _, name := range checkpoint.TableNames(path) {
			if path == m.tables().Embedding {
				if err := m.readTable(w, name, m.embed); err != nil {
					return err
				}
				continue
			}
			if err := m.readTable(w, name, m.head.Weight); err != nil {
				return err
			}
			if m.head.Bias == nil {
				continue
			}
			if err := m.readTable(w, biasName(name), m.head.Bias); err != nil {
				return err
			}
		}
	}
	return nil
}

// readTable reads p from the file if it has a tensor of that name and p is not trained.
func (m *Model) readTable(w *checkpoint.Weights, name string, p *tensor.Param) error {
	shape, ok := w.Shape(name)
	if !ok || m.adapter.saves[p] {
		return nil
	}
	if !slices.Equal(shape, p.Shape) {
		return fmt.Errorf("%s: tensor %q has shape %v, the model's is %v", w.Path(name), name, shape, p.Shape)
	}
	if err := p.Load(m.dev, m.source(p, w, name), &tensor.Buffer{}); err != nil {
		return err
	}
	return m.keepTokens(p)
}

// biasName returns the name of the bias that belongs to a weight's name.
func biasName(weight string) string { return strings.TrimSuffix(weight, "weight") + "bias" }

// keepTokens saves the values of p's trainable rows from before training.
func (m *Model) keepTokens(p *tensor.Param) error {
	for _, t := range m.adapter.tokens {
		if t.table != p {
			continue
		}
		w, err := p.Read(m.dev)
		if err != nil {
			return err
		}
		copy(t.old, rowsOf(w, t.tokens.Index, p.Shape[1]))
	}
	return nil
}

// rowsOf gathers rows of w [_, d].
func rowsOf(w []float32, index []int32, d int) []float32 {
	rows := make([]float32, 0, len(index)*d)
	for _, id := range index {
		rows = append(rows, w[int(id)*d:(int(id)+1)*d]...)
	}
	return rows
}

// beside reports whether the tensor of that name in an adapter's file is one of extraTensors.
func (m *Model) beside(name string) bool {
	for _, path := range m.tables().Paths() {
		for _, table := range checkpoint.TableNames(path) {
			if name == table || path == m.tables().Head && m.head.Bias != nil && name == biasName(table) {
				return true
			}
		}
	}
	return m.tied() && m.head.Tokens != nil && (name == prefix+m.tables().Head+".trainable_tokens_delta" || name == prefix+m.tables().Head+".token_adapter.trainable_tokens_delta")
}

package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"syscall"

	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/storage"
)

// builder makes tokenised data: first every dataset's rows are encoded in the order of its
// files, then the sets are written, each a list of such rows or of rows packed from them.
type builder struct {
	o        Options
	dir      string // of caches; "" = none can be written
	catalog  *dataset.Catalog
	encoder  processor.Encoder
	sets     map[string]*encoded
	names    []string // of sets, by number
	key      string
	marks    map[string]string // of the data sets' files when they were hashed
	warnings []string

	folder *storage.Folder
	rows   *tokens // encoded rows
	packed *tokens // rows packed from them; the same file where nothing is packed
	index  *index
	info   []setInfo

	subtasks  []string // names, in order of first appearance
	subtaskOf map[string]int32

	spillAfter int // see spill; tests lower it
	writeRows  setWriter
	random     *rng.RandomState // NumPy's global stream, from which num_samples draws
}

// encoded is a dataset whose rows are encoded.
type encoded struct {
	source  *dataset.Source
	number  int
	rows    []encodedRow // mapped, where there are many
	unmap   func() error // releases them
	dropped map[int32]processor.Dropped
	faults  map[int32]error // of rows that fail the run if they are used; these rows count as dropped, too
}

// encodedRow locates a row in the file; labels -1: it was dropped.
type encodedRow struct {
	at        int64
	n, labels int32
	subtask   int32 // number of the subtask; 0 = none
	same      bool  // see sameLabels
	weighted  bool  // see hasWeight
}

// ref is a row of a dataset.
type ref struct{ set, row int32 }

// newBuilder checks the options and computes their key.
func newBuilder(ctx context.Context, o Options) (*builder, error) {
	b := &builder{o: o, dir: o.Dir, sets: map[string]*encoded{}, subtaskOf: map[string]int32{}, marks: map[string]string{}, spillAfter: o.spillAfter()}
	if len(o.Train) > 0 || len(o.Eval)+len(o.Mixer) == 0 {
		if err := dataset.Check(o.Train, o.MaxSamples); err != nil {
			return nil, fault("dataset", err)
		}
	}
	var err error
	if o.Pretrain {
		b.encoder, err = processor.NewPretrain(o.Tokenizer, o.Template, o.Process)
	} else {
		b.encoder, err = processor.NewSFT(o.Tokenizer, o.Template, o.Process)
	}
	if err != nil {
		return nil, err
	}
	if b.catalog, err = dataset.OpenCatalog(o.DatasetDir, o.Info); err != nil {
		return nil, fault("dataset_dir", err)
	}
	if err := b.sources(o.Train); err != nil {
		return nil, fault("dataset", err)
	}
	if err := b.sources(o.Eval); err != nil {
		return nil, fault("eval_dataset", err)
	}
	if err := b.sources(o.Mixer); err != nil {
		return nil, fault("mixer_eval_dataset", err)
	}
	if b.dir == "" {
		b.dir, err = DefaultDir()
	}
	if err == nil {
		err = storage.MkdirAll(b.dir)
	}
	if err != nil {
		b.dir = ""
		b.warnNotStored(err)
	}
	return b, fault("dataset", b.makeKey(ctx))
}

// store builds the folder, maps it and publishes it under its name.
func (b *builder) store(ctx context.Context, f *storage.Folder) (*Data, error) {
	b.folder = f
	if err := b.build(ctx); err != nil {
		_ = f.Abort()
		if errors.Is(err, context.Canceled) {
			err = fmt.Errorf("interrupted while tokenising; no partial files are left: %w", err)
		}
		return nil, err
	}
	d, err := open(f.Path(), trusted, b.spillAfter) // the mapping survives the rename
	if err != nil {
		return nil, errors.Join(err, f.Abort())
	}
	switch err := f.Publish(); {
	case err == nil:
		d.Path = f.Final()
		b.o.Log.Info("tokenised data stored", "folder", d.Path)
	case b.o.Path == "" && storage.Unwritable(err):
		d.Path = ""
		b.warnNotStored(err)
	default:
		return nil, errors.Join(b.writing(err), d.Close())
	}
	return d, nil
}

// full recognises errors of a disk, or of a user's share of it, that has no room.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// warnNotStored logs that the cache could not be written.
func (b *builder) warnNotStored(err error) {
	b.o.Log.Warn("tokenised data cannot be stored for the next run: set DATAFLEX_CACHE to a folder that can be written", "error", err)
}

// temporary builds data that exists only as long as the program runs.
func (b *builder) temporary(ctx context.Context) (*Data, error) {
	f, err := storage.Begin(os.TempDir(), "tokens")
	if err != nil {
		return nil, err
	}
	defer f.Abort() // the mapping survives the removal
	b.folder = f
	if err := b.build(ctx); err != nil {
		return nil, err
	}
	d, err := open(f.Path(), trusted, b.spillAfter)
	if d != nil {
		d.Path = ""
	}
	return d, err
}

func (b *builder) path(name string) string { return filepath.Join(b.folder.Path(), name) }

// writing says what could not be written, and what to do about a full disk.
func (b *builder) writing(err error) error {
	if full(err) {
		return fmt.Errorf("tokenising into %s: the disk is full: free some space, or set DATAFLEX_CACHE (or tokenized_path) to a folder on another disk; nothing was left behind: %w", b.folder.Final(), err)
	}
	return fmt.Errorf("tokenising into %s: %w", b.folder.Final(), err)
}

// build writes the folder's files.
func (b *builder) build(ctx context.Context) (err error) {
	name := tokensFile
	if b.encoder.Packs() {
		name = rowsFile
	}
	if b.rows, err = createTokens(b.path(name)); err != nil {
		return b.writing(err)
	}
	defer closeAll(b.rows.file)
	if b.index, err = createIndex(b.folder.Path()); err != nil {
		return b.writing(err)
	}
	defer closeAll(b.index.rows.file, b.index.members.file)
	defer b.unmap()
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent()))
	for _, name := range b.names {
		if err := b.encode(ctx, name); err != nil {
			return fault(b.keyOf(name), err)
		}
		for _, path := range b.sets[name].source.Files() {
			if err := unchanged(path, b.marks[path]); err != nil {
				return fault(b.keyOf(name), err)
			}
		}
	}
	b.packed = b.rows
	var write setWriter = b.list
	if b.encoder.Packs() {
		p, err := b.newPacker()
		if err != nil {
			return err
		}
		defer p.close()
		write = p.pack
	}
	if err := b.writeSets(ctx, write); err != nil {
		return err
	}
	return b.finish()
}

// unmap releases the encoded rows.
func (b *builder) unmap() {
	for _, s := range b.sets {
		if s.unmap != nil {
			_ = s.unmap()
			s.rows, s.unmap = nil, nil
		}
	}
}

// gcPercent lets the heap grow by about 96 MiB of garbage: many objects are allocated while rows
// are encoded, and few are alive at a time, some 32 MiB beside what is alive already.
func gcPercent() int {
	const garbage, batches = 96 << 20, 32 << 20
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return int(100 * garbage / (live[0].Value.Uint64() + batches))
}

// keyOf is the configuration key that names a dataset.
func (b *builder) keyOf(name string) string {
	switch {
	case slices.Contains(b.o.Train, name):
		return "dataset"
	case slices.Contains(b.o.Eval, name):
		return "eval_dataset"
	}
	return "mixer_eval_dataset"
}

// finish syncs everything and writes the manifest.
func (b *builder) finish() error {
	for _, s := range []*stream{&b.packed.stream, &b.index.rows, &b.index.members} {
		if err := s.finish(); err != nil {
			return b.writing(err)
		}
	}
	if b.packed != b.rows {
		if err := storage.Remove(b.path(rowsFile)); err != nil {
			return err
		}
	}
	err := writeManifest(b.path(storage.ManifestFile), manifest{
		Key: b.key, Datasets: b.names, Subtasks: b.subtasks, Sets: b.info, Tokens: b.packed.at, Members: b.index.membersAt,
		MaxToken: int(b.packed.max), Warnings: b.warnings,
		IndexCRC: b.index.crc, TokensCRC: b.packed.sum.blocks(), MembersCRC: b.index.members.sum.blocks(),
	})
	if err != nil {
		return b.writing(err)
	}
	return nil
}

// setWriter writes the rows of a set to the index and returns their number after packing.
type setWriter func(ctx context.Context, refs []ref) (int, error)

// writeSets decides which rows make up the sets, in upstream's order: the random stream of
// num_samples continues from the training sets to the evaluation sets.
func (b *builder) writeSets(ctx context.Context, write setWriter) error {
	b.writeRows, b.random = write, rng.NewRandomState(uint32(b.o.Seed))
	held, err := b.train(ctx)
	if err != nil {
		return err
	}
	switch {
	case len(b.o.Eval) > 0 && b.o.EvalEach:
		err = b.separate(ctx, roleEval, "eval_dataset", b.o.Eval)
	case len(b.o.Eval) > 0:
		if held, err = b.mixed(b.o.Eval); err != nil {
			return fault("eval_dataset", err)
		}
		fallthrough
	case len(held) > 0:
		err = b.set(ctx, "eval_dataset", setInfo{Role: roleEval}, held)
	}
	if err != nil {
		return err
	}
	return b.separate(ctx, roleMixer, "mixer_eval_dataset", b.o.Mixer)
}

// train writes the training rows and returns those held out for evaluation.
func (b *builder) train(ctx context.Context) (held []ref, err error) {
	if len(b.o.Train) == 0 {
		return nil, nil
	}
	if b.o.TrainEach && b.o.ValSize > 1e-6 {
		return nil, fault("val_size", errors.New("rows cannot be held out of a mixture whose datasets are kept separate: name an eval_dataset instead"))
	}
	if b.o.TrainEach {
		return nil, b.separate(ctx, roleTrain, "dataset", b.o.Train)
	}
	train, err := b.mixed(b.o.Train)
	if err != nil {
		return nil, fault("dataset", err)
	}
	if train, held, err = b.split(train); err != nil {
		return nil, fault("val_size", err)
	}
	return held, b.set(ctx, "dataset", setInfo{Role: roleTrain}, train)
}

// separate writes every named dataset as a set of its own.
func (b *builder) separate(ctx context.Context, role, key string, names []string) error {
	groups, err := b.groups(names)
	if err != nil {
		return fault(key, err)
	}
	for _, g := range groups {
		if err := b.set(ctx, key, setInfo{Role: role, Name: g.Name}, b.streamed(g.Samples)); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) groups(names []string) ([]dataset.Group[ref], error) {
	return dataset.Collect(names, func(name string) ([]ref, error) {
		s := b.sets[name]
		refs := make([]ref, len(s.rows))
		for i := range refs {
			refs[i] = ref{int32(s.number), int32(i)}
		}
		refs, err := dataset.Sliced(s.source, refs)
		if err != nil {
			return nil, fmt.Errorf("dataset %s: %w", name, err)
		}
		return dataset.Sampled(refs, s.source.NumSamples, b.o.MaxSamples, b.random), nil
	})
}

func (b *builder) mixed(names []string) ([]ref, error) {
	groups, err := b.groups(names)
	if err != nil {
		return nil, err
	}
	if b.o.Streaming {
		groups = dataset.StreamedSources(groups, b.o.Mix, b.o.Seed)
	}
	refs, err := dataset.Merge(groups, b.o.Mix, b.o.Probs, b.o.Seed)
	return b.streamed(refs), err
}

// streamed applies the order of streaming.
func (b *builder) streamed(refs []ref) []ref {
	if !b.o.Streaming {
		return refs
	}
	out := make([]ref, len(refs))
	for i, from := range dataset.StreamOrder(len(refs), b.o.BufferSize, b.o.Seed) {
		out[i] = refs[from]
	}
	return out
}

// split holds out val_size rows; of a stream, its first rows.
func (b *builder) split(refs []ref) (train, held []ref, err error) {
	if len(b.o.Eval) > 0 {
		return refs, nil, nil
	}
	if n := int(b.o.ValSize); b.o.Streaming && n > 0 {
		if n >= len(refs) {
			return nil, nil, fmt.Errorf("val_size %d takes all of the %d samples and leaves none to train on; make it smaller", n, len(refs))
		}
		return refs[n:], refs[:n:n], nil
	}
	return dataset.Split(refs, b.o.ValSize, b.o.Seed)
}

// set writes one set and reports the rows that were dropped from it.
func (b *builder) set(ctx context.Context, key string, info setInfo, refs []ref) error {
	var dropped []processor.Dropped
	tokens := 0
	for _, r := range refs {
		s := b.sets[b.names[r.set]]
		if err := s.faults[r.row]; err != nil {
			return fault(key, dataset.Locate(err))
		}
		if d, ok := s.dropped[r.row]; ok {
			dropped = append(dropped, d)
		} else {
			tokens += int(s.rows[r.row].n)
			if s.rows[r.row].weighted && b.encoder.Packs() {
				return fault(key, fmt.Errorf("dataset %s, row %d has a weight, and packing puts rows of different weights into one: set packing: false, or take columns.weight out of its entry", b.names[r.set], r.row))
			}
		}
	}
	b.warnings = append(b.warnings, processor.Warnings(dropped)...)
	n, err := b.writeRows(ctx, refs)
	if err != nil {
		return err
	}
	if n == 0 {
		return fault(key, b.encoder.Empty(len(refs), tokens, dropped))
	}
	info.Rows = n
	b.info = append(b.info, info)
	return nil
}

// list is the setWriter of rows that are not packed.
func (b *builder) list(_ context.Context, refs []ref) (n int, err error) {
	for _, r := range refs {
		e, usable := b.entry(r)
		if !usable {
			continue
		}
		if err := b.index.add(e, nil, b.number); err != nil {
			return n, b.writing(err)
		}
		n++
	}
	return n, nil
}

// entry is the index entry of an encoded row.
func (b *builder) entry(r ref) (entry, bool) {
	row := b.sets[b.names[r.set]].rows[r.row]
	e := entry{at: row.at, n: row.n, labelled: row.labels, dataset: r.set, row: int64(r.row), subtask: row.subtask}
	if row.same {
		e.flags = sameLabels
	}
	if row.weighted {
		e.flags |= hasWeight
	}
	return e, row.labels >= 0
}

func (b *builder) number(name string) int { return b.sets[name].number }

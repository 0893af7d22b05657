// Package cache turns the datasets of a configuration into tokenised examples and stores them
// on disk, where the next run with the same content finds them.
//
// Its memory does not grow with the text: rows are read, encoded on every core and written, and
// the examples returned are slices of the mapped file. Which rows make up a set, and in what
// order (num_samples, mixing, val_size, streaming), is decided on row numbers.
//
// A cache is keyed by the content of everything it depends on: the data files, their entries in
// dataset_info.json, the tokenizer, the template, the settings and the program. It is written
// under a temporary name, synced and renamed, so that a cache that exists is complete.
package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
)

// Options say which examples are wanted: the data arguments of a configuration.
type Options struct {
	DatasetDir string // "" = dataset.DefaultDir
	Info       []byte // the text of dataset_dir given as a map; nil = DatasetDir's dataset_info.json
	Train      []string
	TrainEach  bool // of dynamic_mix: the training sets are kept separate, and Mix has no effect on them
	Eval       []string
	EvalEach   bool     // eval_on_each_dataset: the evaluation sets are kept separate
	Mixer      []string // mixer_eval_dataset: always separate sets
	ValSize    float64  // without Eval: rows held out of Train, a fraction below 1, a count from 1
	MaxSamples int      // 0 = all
	Mix        dataset.Mix
	Probs      []float64 // interleave_probs
	Seed       uint64
	Streaming  bool // the order of a shuffle buffer; num_samples has no effect
	BufferSize int

	Tokenizer *tokenizer.Tokenizer // after the template has adapted it
	Template  *template.Template
	Pretrain  bool // stage pt; else sft
	Process   processor.Options

	Dir       string // the folder of caches; "" = DefaultDir
	Overwrite bool   // overwrite_cache: tokenise again
	Path      string // tokenized_path: read if it exists, else written there

	Log *slog.Logger // nil = silent

	spill int // tests: what spillAfter is instead; 0 = spillAfter
}

func (o Options) spillAfter() int {
	if o.spill > 0 {
		return o.spill
	}
	return spillAfter
}

// Data is tokenised data. Its slices are read-only memory, valid until Close.
type Data struct {
	Train  []data.Example
	Labels []int32 // per row of Train: how many labels contribute to the loss
	Each   []Set   // with TrainEach: the separate sets of Train
	Eval   []Set
	Mixer  []Set

	// Key identifies the content: equal keys, equal examples. It is computed without reading
	// the examples.
	Key      string
	Warnings []string // about dropped rows and keys without effect
	Found    bool     // read from a cache, not built
	Path     string   // the folder that holds the examples; "" where none could be stored

	most  int // the largest token
	unmap func() error
}

// Set is a dataset that is kept separate, or all evaluation sets as one.
type Set struct {
	Name     string // of its dataset; "" for several mixed datasets and for held-out rows
	Examples []data.Example
}

// Close unmaps the examples.
func (d *Data) Close() error { return d.unmap() }

// Fault is an error caused by the value of a configuration key.
type Fault struct {
	Key string // dataset, eval_dataset, val_size, tokenized_path, ...
	Err error
}

func (f *Fault) Error() string { return f.Key + ": " + f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

func fault(key string, err error) error {
	var f *Fault
	if err == nil || errors.As(err, &f) || errors.Is(err, context.Canceled) {
		return err
	}
	return &Fault{Key: key, Err: err}
}

// DefaultDir is the folder of caches: $DATAFLEX_CACHE, else beside the caches of Hugging Face
// datasets if $HF_DATASETS_CACHE or $HF_HOME is set, else in the user's cache folder.
func DefaultDir() (string, error) {
	if dir := os.Getenv("DATAFLEX_CACHE"); dir != "" {
		return dir, nil
	}
	for _, name := range []string{"HF_DATASETS_CACHE", "HF_HOME"} {
		if dir := os.Getenv(name); dir != "" {
			return filepath.Join(dir, "dataflex"), nil
		}
	}
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "dataflex"), err
}

// Load returns the examples that o describes: from tokenized_path or a cache if they exist,
// else it builds and stores them. Errors caused by a configuration key are a *Fault.
func Load(ctx context.Context, o Options) (*Data, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Path != "" {
		d, err := o.fromPath()
		if d != nil || err != nil {
			return d, fault("tokenized_path", err)
		}
	}
	b, err := newBuilder(ctx, o)
	if err != nil {
		return nil, err
	}
	switch {
	case o.Path != "":
		d, err := b.atPath(ctx)
		return d, fault("tokenized_path", err)
	case b.dir == "":
		return b.temporary(ctx)
	}
	return b.cached(ctx)
}

// cached finds the data in the cache, or builds it there. Of several runs that want the same
// data, one builds it and the others wait.
func (b *builder) cached(ctx context.Context) (*Data, error) {
	parent, name := filepath.Join(b.dir, "tokenized"), b.key[:32]
	path := filepath.Join(parent, name)
	there := storage.Exists(path)
	if d := b.find(path); d != nil {
		return d, nil
	}
	unlock, waited, err := b.lock(ctx, parent, name)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		b.warnNotStored(err)
		return b.temporary(ctx)
	}
	defer unlock()
	// Another run may have built it after our look-up and released the lock before we took it.
	if waited || !there {
		if d := b.find(path); d != nil {
			return d, nil
		}
	}
	// Files left by a killed program are harmless: failing to remove them is no error.
	_, _ = storage.CleanStaleFolders(parent)
	f, err := storage.Begin(parent, name)
	if storage.Unwritable(err) || full(err) {
		b.warnNotStored(err)
		return b.temporary(ctx)
	}
	if err != nil {
		return nil, err
	}
	d, err := b.store(ctx, f)
	if !full(err) {
		return d, err
	}
	// What another run left there may fill the disk, or a quota of the home folder's: the
	// run itself writes elsewhere.
	b.warnNotStored(err)
	again, err := newBuilder(ctx, b.o)
	if err != nil {
		return nil, err
	}
	return again.temporary(ctx)
}

// find opens a complete cache and verifies its checksums; nil where there is none.
func (b *builder) find(path string) *Data {
	if b.o.Overwrite {
		return nil
	}
	d, err := open(path, verified, b.spillAfter)
	switch {
	case err == nil && d.Key == b.key:
		d.Found = true
		b.o.Log.Info("tokenised data found", "cache", d.Path, "rows", len(d.Train))
		return d
	case err == nil:
		_ = d.Close()
	case !errors.Is(err, fs.ErrNotExist):
		b.o.Log.Warn("the cache is not usable and is built again: " + err.Error())
	}
	return nil
}

// lock waits until no other run builds parent/name.
func (b *builder) lock(ctx context.Context, parent, name string) (unlock func(), waited bool, err error) {
	if err := storage.MkdirAll(parent); err != nil {
		return nil, false, err
	}
	l, err := storage.WaitLock(ctx, filepath.Join(parent, "."+name+".lock"), func(h *storage.Held) {
		waited = true
		b.o.Log.Info("another run is tokenising the same data: waiting for it", "pid", h.Owner.PID, "host", h.Owner.Host)
	})
	if err != nil {
		return nil, waited, err
	}
	return func() { _ = l.Release() }, waited, nil
}

// atPath builds tokenized_path, or reads it where another run has built it in the meantime.
func (b *builder) atPath(ctx context.Context) (*Data, error) {
	path, err := filepath.Abs(b.o.Path)
	if err != nil {
		return nil, err
	}
	parent, name := filepath.Split(path)
	unlock, _, err := b.lock(ctx, parent, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Another run may have built it between our look-up and our lock.
	if d, err := b.o.fromPath(); d != nil || err != nil {
		return d, err
	}
	_, _ = storage.CleanStaleFolder(parent, name)
	f, err := storage.Begin(parent, name)
	if err != nil {
		return nil, err
	}
	return b.store(ctx, f)
}

// fromPath reads tokenized_path; nil when it does not exist yet.
func (o Options) fromPath() (*Data, error) {
	entries, err := storage.ReadDir(o.Path)
	switch {
	case errors.Is(err, os.ErrNotExist) || err == nil && len(entries) == 0:
		if o.Streaming {
			return nil, errors.New("it does not exist yet: turn off `streaming` when saving a dataset to disk (once it is there, streaming is not needed)")
		}
		return nil, nil
	case err != nil:
		return nil, err
	}
	for _, e := range entries {
		if e.Name() == "dataset_dict.json" || e.Name() == "state.json" || filepath.Ext(e.Name()) == ".arrow" {
			return nil, fmt.Errorf("%s is an Arrow folder that LLaMA-Factory saved (it holds %s), and only this program's own format is read: "+
				"name a folder that does not exist yet, and the data is tokenised into it from dataset and dataset_dir", o.Path, e.Name())
		}
	}
	d, err := open(o.Path, verified, o.spillAfter())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s is not empty and holds no tokenised data (%w): name a folder that does not exist yet", o.Path, err)
	}
	if err != nil {
		return nil, err
	}
	d.Found = true
	if n := o.Tokenizer.Len(); d.most >= n {
		return nil, errors.Join(fmt.Errorf("%s holds token %d, and the tokenizer has %d tokens: it was made with another tokenizer; "+
			"name the model it was made for, or another folder", o.Path, d.most, n), d.Close())
	}
	o.Log.Info("tokenised data read; the other data arguments have no effect", "tokenized_path", o.Path, "rows", len(d.Train))
	return d, nil
}

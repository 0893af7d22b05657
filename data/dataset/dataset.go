// Package dataset reads the datasets of a LLaMA-Factory dataset_dir: what
// dataset_info.json says about a name, the rows of its files, and their alignment
// into prompt, response, system and tools.
//
// Every sample knows its dataset and row; that stays true through sampling, mixing
// and splitting. Sources: LLaMA-Factory 0.9.4 data/{parser,loader,converter,
// data_utils}.py and Hugging Face datasets (interleave_datasets, train_test_split).
package dataset

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"dataflex/data"
	"dataflex/data/rng"
)

// DefaultDir is the dataset_dir of a configuration that names none.
const DefaultDir = "data"

// Options says what to load.
type Options struct {
	Dir        string   // dataset_dir; "" = DefaultDir
	Names      []string // entries of its dataset_info.json
	MaxSamples int      // first rows kept of each dataset; 0 = all

	// Random is NumPy's global stream, from which num_samples draws; it advances from
	// dataset to dataset, and upstream's goes on from the training sets to the eval
	// sets. Nil = a new one from Seed.
	Random *rng.RandomState
	Seed   uint64 // the run's seed; also that of interleaving

	Mix     Mix       // how Load puts several datasets together; "" = Concat
	Probs   []float64 // interleave_probs; nil = in turn
	Threads int       // of the conversion; 0 = GOMAXPROCS. The result does not depend on it.
}

// Set is what was loaded.
type Set struct {
	Samples  []data.Sample
	Warnings []string // about names and keys; broken rows are reported when they are dropped
}

// Named is one dataset by itself.
type Named struct {
	Name    string
	Samples []data.Sample
}

// Load reads the named datasets and mixes them into one. Samples that nothing can be
// learned from are in it, marked Broken.
func Load(ctx context.Context, o Options) (*Set, error) {
	sets, warnings, err := LoadEach(ctx, o)
	if err != nil {
		return nil, err
	}
	samples, err := Merge(sets, o.Mix, o.Probs, o.Seed)
	if err != nil {
		return nil, err
	}
	return &Set{Samples: samples, Warnings: warnings}, nil
}

// LoadEach reads the named datasets and keeps them apart. A name that is listed
// twice is loaded once, at its first place, as upstream does.
func LoadEach(ctx context.Context, o Options) ([]Named, []string, error) {
	l, err := newLoader(o)
	if err != nil {
		return nil, nil, err
	}
	var out []Named
	place := map[string]int{}
	for _, name := range o.Names {
		at, again := place[name]
		if !again {
			at = len(out)
			place[name] = at
			out = append(out, Named{Name: name})
		} else {
			l.warn("dataset %s is listed more than once and is loaded once; to weigh it more, set num_samples in its entry of %s", name, InfoFile)
		}
		if out[at].Samples, err = l.load(ctx, name); err != nil {
			return nil, nil, err
		}
	}
	return out, l.warnings, nil
}

// loader holds what is shared between the datasets of one call.
type loader struct {
	Options
	info     *info
	rows     map[string][]data.Sample // converted, before sampling
	warnings []string
}

func newLoader(o Options) (*loader, error) {
	if len(o.Names) == 0 {
		return nil, errors.New("no dataset is named: set `dataset`")
	}
	if o.MaxSamples < 0 {
		return nil, fmt.Errorf("max_samples is %d; it must be at least 1", o.MaxSamples)
	}
	if o.Dir == "" {
		o.Dir = DefaultDir
	}
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.Random == nil {
		o.Random = rng.NewRandomState(uint32(o.Seed))
	}
	in, err := readInfo(o.Dir)
	if err != nil {
		return nil, err
	}
	return &loader{Options: o, info: in, rows: map[string][]data.Sample{}}, nil
}

func (l *loader) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

// load reads, samples and cuts one dataset.
func (l *loader) load(ctx context.Context, name string) ([]data.Sample, error) {
	a, warnings, err := l.info.attributes(name)
	if err != nil {
		return nil, err
	}
	samples, ok := l.rows[name]
	if !ok {
		l.warnings = append(l.warnings, warnings...)
		limit := l.MaxSamples
		if a.numSamples > 0 {
			limit = 0 // num_samples draws from all rows
		}
		if samples, err = l.read(ctx, a, limit); err != nil {
			return nil, locate(err)
		}
		l.rows[name] = samples
	}
	if a.numSamples > 0 {
		samples = draw(samples, a.numSamples, l.Random)
	}
	if l.MaxSamples > 0 && len(samples) > l.MaxSamples {
		samples = samples[:l.MaxSamples]
	}
	return samples, nil
}

// draw takes n samples: the first of a permutation, and beyond the dataset's length
// further ones with replacement.
func draw(samples []data.Sample, n int, random *rng.RandomState) []data.Sample {
	out := make([]data.Sample, 0, n)
	for _, i := range random.Permutation(len(samples))[:min(n, len(samples))] {
		out = append(out, samples[i])
	}
	if more := n - len(out); more > 0 {
		for _, i := range random.Randint(0, int64(len(samples)), more) {
			out = append(out, samples[i])
		}
	}
	return out
}

// read converts the rows of a dataset's files; limit 0 = all of them.
func (l *loader) read(ctx context.Context, a *attributes, limit int) ([]data.Sample, error) {
	sources, err := a.sources(l.Dir)
	if err != nil {
		return nil, err
	}
	c := newConverter(ctx, a, l.Threads)
	total := 0
	for _, s := range sources {
		rows := limit - total
		if limit == 0 {
			rows = -1
		} else if rows == 0 {
			break
		}
		n, err := c.feed(s, total, rows)
		total += n
		if err != nil {
			c.fail(fmt.Errorf("dataset %s: %w", a.name, err))
			break
		}
	}
	samples, err := c.finish()
	if err == nil && len(samples) == 0 {
		err = fmt.Errorf("dataset %s is empty: %s holds no row", a.name, paths(sources))
	}
	return samples, err
}

func paths(sources []source) string {
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.path
	}
	return strings.Join(names, ", ")
}

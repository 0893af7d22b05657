package dataset

import (
	"context"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/rng"
)

// Options says what to load.
type Options struct {
	Dir        string   // dataset_dir; "" = DefaultDir
	Info       []byte   // the text of a dataset_info.json instead of Dir's; nil = Dir's
	Names      []string // entries of its dataset_info.json
	MaxSamples int      // the first rows of each dataset; 0 = all

	// Random is NumPy's global stream, from which num_samples draws; it advances from dataset
	// to dataset, in upstream from the training sets to the eval sets. Nil = a new one from
	// Seed.
	Random *rng.RandomState
	Seed   uint64 // the run's seed; also that of interleaving

	Mix     Mix       // how Load puts several datasets together; "" = Concat
	Probs   []float64 // interleave_probs; nil = alternating
	Threads int       // of the conversion; 0 = GOMAXPROCS. The result does not depend on it.
}

// Set is what was loaded.
type Set struct {
	Samples  []data.Sample
	Warnings []string // about names and keys; broken rows are reported when they are dropped
}

// Named is one dataset by itself.
type Named = Group[data.Sample]

// Load reads the named datasets into memory and mixes them into one. Samples that cannot be
// trained on are included, marked Broken.
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

// LoadEach reads the named datasets and keeps them separate. A name that is listed twice is
// loaded once, at its first position, as in upstream.
func LoadEach(ctx context.Context, o Options) ([]Named, []string, error) {
	if err := Check(o.Names, o.MaxSamples); err != nil {
		return nil, nil, err
	}
	c, err := OpenCatalog(o.Dir, o.Info)
	if err != nil {
		return nil, nil, err
	}
	random := o.Random
	if random == nil {
		random = rng.NewRandomState(uint32(o.Seed))
	}
	var warnings []string
	rows := map[string][]data.Sample{}
	sets, err := Collect(o.Names, func(name string) ([]data.Sample, error) {
		s, err := c.Source(name)
		if err != nil {
			return nil, err
		}
		if rows[name] == nil {
			warnings = append(warnings, s.Warnings...)
			err = Each(ctx, s, s.Limit(o.MaxSamples), o.Threads, keep, func(part []data.Sample) error {
				rows[name] = append(rows[name], part...)
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
		sliced, err := Sliced(s, rows[name])
		return Sampled(sliced, s.NumSamples, o.MaxSamples, random), err
	})
	return sets, append(warnings, Repeated(o.Names)...), err
}

func keep(samples []data.Sample) ([]data.Sample, error) {
	for _, s := range samples {
		if s.Fault != nil {
			return nil, s.Fault
		}
	}
	return samples, nil
}

package dataset

import (
	"fmt"
	"strings"
)

// Catalog is a dataset_dir with its dataset_info.json.
type Catalog struct {
	dir  string
	info *info
}

// OpenCatalog reads dir's dataset_info.json ("" = DefaultDir), or text instead: file names are
// then relative to dir, or to the working directory where dir is "".
func OpenCatalog(dir string, text []byte) (*Catalog, error) {
	if dir == "" && text == nil {
		dir = DefaultDir
	}
	in, err := readInfo(dir, text)
	if err != nil {
		return nil, err
	}
	return &Catalog{dir: dir, info: in}, nil
}

// Source is a dataset of a catalog, before its rows are read.
type Source struct {
	Name       string
	NumSamples int      // num_samples: how many rows are drawn; 0 = all, in order
	Warnings   []string // about keys without effect
	attr       *attributes
	files      []source
	nullWords  int // csv fields that Each took for words that mean null
}

// Source looks a dataset up and finds its files.
func (c *Catalog) Source(name string) (*Source, error) {
	a, warnings, err := c.info.attributes(name)
	if err != nil {
		return nil, err
	}
	files, err := a.sources(c.dir)
	if err != nil {
		return nil, err
	}
	return &Source{Name: name, NumSamples: a.numSamples, Warnings: warnings, attr: a, files: files}, nil
}

// Files lists the dataset's files in the order of their rows.
func (s *Source) Files() []string { return paths(s.files) }

func paths(files []source) []string {
	out := make([]string, len(files))
	for i, f := range files {
		out[i] = f.path
	}
	return out
}

// Notes is what Each found that a user should know, available after all rows were read.
func (s *Source) Notes() []string {
	if s.nullWords == 0 {
		return nil
	}
	return []string{fmt.Sprintf("dataset %s: %d fields of %s are words for null (NA, N/A, None, null, nan ...) and are read as null, as pandas does; write such a text into a .jsonl file to train on it",
		s.Name, s.nullWords, strings.Join(s.Files(), ", "))}
}

// Sliced applies the entry's `split` to the rows of the dataset.
func Sliced[T any](s *Source, rows []T) ([]T, error) {
	if s.attr.split == nil {
		return rows, nil
	}
	var out []T
	for _, part := range s.attr.split {
		from, to := part.bounds(len(rows))
		out = append(out, rows[from:to]...)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("split takes none of its %d rows", len(rows))
	}
	return out, nil
}

// Definition is the part of the entry that determines how rows are read, as one line: equal
// files and definitions give equal samples.
func (s *Source) Definition() string {
	a := *s.attr
	a.info, a.file, a.hub, a.numSamples = "", "", "", 0
	kinds := make([]string, len(s.files))
	for i, f := range s.files {
		kinds[i] = f.kind + f.compress
	}
	return fmt.Sprintf("%+v %q", a, kinds)
}

// Limit is how many rows must be read for max_samples (0 = all): num_samples draws from all of
// them, and the result of a split depends on their number.
func (s *Source) Limit(maxSamples int) int {
	if s.NumSamples > 0 || s.attr.split != nil {
		return 0
	}
	return maxSamples
}

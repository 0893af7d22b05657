package train

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/storage"
)

// Merging says what MergeScores writes besides the scores of all rows.
type Merging struct {
	Shares     int
	Top        int  // so many rows with the highest scores; 0 = none
	PerDataset bool // of each data set
}

// TopName is the file of the rows with the highest scores.
const TopName = "top.jsonl"

// MergeScores merges the shares in dir to scores.npy and scores.jsonl, and writes the best rows,
// the best first, to top.jsonl: one share after another, so that it takes the memory of the
// largest. Of rows with equal scores the first is better; rows without a score are not among the
// best. A share that is missing, or was made with another model, data or settings than the first,
// is an error that names it, and nothing is written.
func MergeScores(dir string, m Merging) error {
	shares, rows, err := m.shares(dir)
	if err != nil {
		return err
	}
	top := topRows{most: m.Top, perDataset: m.PerDataset}
	err = storage.Write(filepath.Join(dir, "scores.npy"), -1, func(array io.Writer) error {
		if _, err := array.Write(npy.Head[float64](rows)); err != nil {
			return err
		}
		return storage.Write(filepath.Join(dir, "scores.jsonl"), -1, func(lines io.Writer) error {
			w := bufio.NewWriterSize(lines, 1<<20)
			for _, s := range shares {
				if err := s.append(dir, array, w, &top); err != nil {
					return fmt.Errorf("share %d of %d: %w", s.Shard.Index, m.Shares, err)
				}
			}
			return w.Flush()
		})
	})
	if err != nil || m.Top == 0 {
		return err
	}
	return storage.Write(filepath.Join(dir, TopName), -1, top.write)
}

// shares reads the conditions of all shares and refuses those that do not belong together.
func (m Merging) shares(dir string) (all []shareFile, rows int, err error) {
	for i := 1; i <= m.Shares; i++ {
		share := shareFile{Shard: Shard{i, m.Shares}}
		there, err := share.read(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist) && storage.Exists(share.path(dir, ".npy")):
			return nil, 0, fmt.Errorf("share %d of %d: the file with its conditions is missing (%s): score it again", i, m.Shares, share.path(dir, ".json"))
		case errors.Is(err, fs.ErrNotExist):
			return nil, 0, fmt.Errorf("share %d of %d is not there: score it with --shard %d/%d: %w", i, m.Shares, i, m.Shares, err)
		case err != nil:
			return nil, 0, fmt.Errorf("share %d of %d: %w", i, m.Shares, err)
		case i > 1 && there.Key != all[0].Key:
			return nil, 0, fmt.Errorf("share %d of %d in %s was scored with another model, data or settings than share 1: score it again like the others", i, m.Shares, dir)
		case there.First != rows:
			return nil, 0, there.misplaced(dir)
		}
		all, rows = append(all, there), rows+there.Rows
	}
	return all, rows, nil
}

func (f shareFile) misplaced(dir string) error {
	return fmt.Errorf("share %d of %d in %s does not follow the ones before it: they are of different runs: score it again", f.Shard.Index, f.Shard.Count, dir)
}

// append adds a share's scores and lines to those before it, and offers its rows to top.
func (f shareFile) append(dir string, array io.Writer, lines *bufio.Writer, top *topRows) error {
	a, err := npy.Read(f.path(dir, ".npy"))
	if err != nil {
		return err
	}
	scores := a.Float64s()
	if a.DType != npy.Float64 || len(scores) != f.Rows {
		return f.misplaced(dir)
	}
	if _, err := array.Write(a.Data); err != nil {
		return err
	}
	file, err := storage.Open(f.path(dir, ".jsonl"))
	if err != nil {
		return err
	}
	defer file.Close()
	r := bufio.NewReaderSize(file, 1<<20)
	for i := 0; ; i++ {
		line, err := r.ReadBytes('\n')
		switch {
		case err == io.EOF && len(line) == 0 && i == len(scores):
			return nil
		case err != nil && err != io.EOF:
			return err
		case err == io.EOF || i >= len(scores):
			return f.misplaced(dir)
		}
		if _, err := lines.Write(line); err != nil {
			return err
		}
		if err := top.offer(scores[i], f.First+i, line); err != nil {
			return fmt.Errorf("%s, line %d: %w", f.path(dir, ".jsonl"), i+1, err)
		}
	}
}

// topRows are the rows with the highest scores so far.
type topRows struct {
	most       int
	perDataset bool
	groups     map[string]*worstFirst
}

// topRow is a row, and its line.
type topRow struct {
	score float64
	index int
	line  []byte
}

// better sorts the best row first.
func better(a, b topRow) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.index, b.index))
}

func (k *topRows) offer(score float64, index int, line []byte) error {
	if k.most == 0 || math.IsNaN(score) || math.IsInf(score, 0) {
		return nil
	}
	var row struct{ Dataset string }
	if k.perDataset {
		if err := json.Unmarshal(line, &row); err != nil {
			return err
		}
	}
	g := k.groups[row.Dataset]
	if g == nil {
		if k.groups == nil {
			k.groups = map[string]*worstFirst{}
		}
		g = &worstFirst{}
		k.groups[row.Dataset] = g
	}
	r := topRow{score: score, index: index}
	if len(*g) == k.most {
		if better((*g)[0], r) < 0 {
			return nil
		}
		heap.Pop(g)
	}
	r.line = slices.Clone(line)
	heap.Push(g, r)
	return nil
}

// write writes the rows' lines, the best first.
func (k *topRows) write(to io.Writer) error {
	var all []topRow
	for _, g := range k.groups {
		all = append(all, *g...)
	}
	slices.SortFunc(all, better)
	w := bufio.NewWriter(to)
	for _, r := range all {
		if _, err := w.Write(r.line); err != nil {
			return err
		}
	}
	return w.Flush()
}

// worstFirst implements heap.Interface: the row to give up first is at the top.
type worstFirst []topRow

func (h worstFirst) Len() int           { return len(h) }
func (h worstFirst) Less(i, j int) bool { return better(h[i], h[j]) > 0 }
func (h worstFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *worstFirst) Push(x any)        { *h = append(*h, x.(topRow)) }
func (h *worstFirst) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	*h = (*h)[:last]
	return r
}

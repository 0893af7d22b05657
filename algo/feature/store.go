package feature

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// Store is a table of float32 rows on disk that survives a kill: rows of a
// finished batch are never computed again. It is keyed by the content of all
// that the rows depend on; a table with another key is not read.
type Store struct {
	Width int

	file   *os.File
	path   string
	state  storeState
	synced time.Time
}

// storeState is the side file, replaced atomically after the rows it counts are
// on disk.
type storeState struct {
	Key     string `json:"key"`
	Rows    int    `json:"rows"`
	Width   int    `json:"width"`
	Batches int    `json:"batches"` // finished, in the order of the pass
}

// syncEvery bounds the work a power cut can cost.
const syncEvery = 20 * time.Second

// OpenStore opens the table of that key under dir, or starts it.
func OpenStore(dir, key string, rows, width int) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("feature store: %w", err)
	}
	s := &Store{Width: width, path: filepath.Join(dir, key[:16]+".f32"), synced: time.Now()}
	want := storeState{Key: key, Rows: rows, Width: width}
	s.state = want
	if raw, err := os.ReadFile(s.sidePath()); err == nil {
		var got storeState
		if json.Unmarshal(raw, &got) == nil && got.Key == key && got.Rows == rows && got.Width == width {
			s.state = got
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("feature store: %w", err)
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("feature store: %w", err)
	}
	s.file = f
	size := int64(rows) * int64(width) * 4
	if info, err := f.Stat(); err != nil || info.Size() != size {
		s.state = want
		if err := f.Truncate(size); err != nil {
			return nil, errors.Join(fmt.Errorf("feature store %s, %d bytes: %w", s.path, size, err), f.Close())
		}
	}
	return s, nil
}

func (s *Store) sidePath() string { return s.path + ".json" }

// Batches is how many batches of the pass are already in the table.
func (s *Store) Batches() int { return s.state.Batches }

// Put writes the rows of the next batch; values holds len(rows) rows of Width.
func (s *Store) Put(rows []int, values []float32) error {
	buf := make([]byte, 4*s.Width)
	for i, r := range rows {
		for j, v := range values[i*s.Width : (i+1)*s.Width] {
			binary.LittleEndian.PutUint32(buf[4*j:], math.Float32bits(v))
		}
		if _, err := s.file.WriteAt(buf, int64(r)*int64(len(buf))); err != nil {
			return fmt.Errorf("feature store %s, row %d: %w", s.path, r, err)
		}
	}
	s.state.Batches++
	if time.Since(s.synced) >= syncEvery {
		return s.Sync()
	}
	return nil
}

// Sync puts what was written on disk, rows first, then the count of them.
func (s *Store) Sync() error {
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("feature store %s: %w", s.path, err)
	}
	raw, err := json.Marshal(s.state)
	if err != nil {
		return err
	}
	s.synced = time.Now()
	return storage.WriteFile(s.sidePath(), raw)
}

// Row reads one row into dst, which has Width elements.
func (s *Store) Row(r int, dst []float32) error {
	buf := make([]byte, 4*s.Width)
	if _, err := s.file.ReadAt(buf, int64(r)*int64(len(buf))); err != nil {
		return fmt.Errorf("feature store %s, row %d: %w", s.path, r, err)
	}
	for j := range dst {
		dst[j] = math.Float32frombits(binary.LittleEndian.Uint32(buf[4*j:]))
	}
	return nil
}

// Close keeps the table for a later run.
func (s *Store) Close() error { return errors.Join(s.Sync(), s.file.Close()) }

// Remove deletes the table: what was asked of it is answered.
func (s *Store) Remove() error {
	return errors.Join(s.file.Close(), os.Remove(s.path), removeIfThere(s.sidePath()))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

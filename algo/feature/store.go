package feature

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data/storage"
)

// Store is a table of float32 rows on disk that survives a kill: rows of a finished batch
// are never computed again. Its key identifies by content everything on which the rows
// depend; a table with another key is not used, nor is one whose rows do not match their
// checksums. If two runs have the same key at the same time, the second has a table of its
// own, which is removed when it ends.
//
// The file, little-endian: a page that begins with the header (magic, SHA-256 of the key,
// rows, width, CRC32C of these); the order in which rows were put, a uint32 each; the rows,
// each followed by the CRC32C of its number and values. The progress of the pass is in one
// of two slots of the first page, which are written alternately, so that one of them is
// always complete.
type Store struct {
	Width int

	file     storage.File
	lock     *storage.Lock // nil: the file has already been removed from its folder
	path     string
	rows     int
	progress storeProgress
	synced   time.Time
	buf      []byte // a row as stored in the file

	memory []float32 // on ranks that hold the rows of rank 0's file; otherwise nil
}

// storeProgress is the content of a slot, which is followed by its CRC32C.
type storeProgress struct {
	turn     uint32 // the slot with the higher turn counts
	batches  uint32 // finished batches, in the order of the pass
	put      uint32 // rows of these batches
	orderCRC uint32 // CRC32C of these rows' numbers
}

const (
	storePage   = 4096
	storeMagic  = "dataflex rows 1\n"
	storeHeader = len(storeMagic) + sha256.Size + 16 + 4
	slotBytes   = 20
)

// slotAt are offsets in different sectors.
var slotAt = [2]int64{1024, 2048}

// syncEvery bounds the work that a power failure can cost.
const syncEvery = 20 * time.Second

// OpenStore opens the table with that key under dir, or creates it. Of several ranks rank 0
// has the file; the others hold the rows in memory, and start with those that rank 0 found.
func OpenStore(ctx context.Context, job *ranks.Job, dir, key string, rows, width int) (*Store, error) {
	if job.Size() == 1 {
		return openStore(dir, key, rows, width)
	}
	var s *Store
	found, err := ranks.Decided(ctx, job, "features of an earlier run", func(context.Context) (found storeRows, err error) {
		if s, err = openStore(dir, key, rows, width); err == nil {
			found, err = s.found()
		}
		return found, err
	})
	if err != nil || s != nil {
		return s, err
	}
	s = &Store{Width: width, rows: rows, memory: make([]float32, rows*width), progress: storeProgress{batches: found.Batches, put: uint32(len(found.Rows))}}
	for i, r := range found.Rows {
		copy(s.memory[r*width:(r+1)*width], found.Values[i*width:])
	}
	return s, nil
}

// storeRows is the content of a table.
type storeRows struct {
	Batches uint32
	Rows    []int
	Values  []float32
}

// found returns the rows that an earlier run left.
func (s *Store) found() (f storeRows, err error) {
	order := make([]byte, 4*s.progress.put)
	if _, err := s.file.ReadAt(order, s.orderAt(0)); err != nil && !errors.Is(err, io.EOF) {
		return f, fmt.Errorf("feature store %s: %w", s.path, err)
	}
	f.Batches, f.Values = s.progress.batches, make([]float32, int(s.progress.put)*s.Width)
	for i := range int(s.progress.put) {
		f.Rows = append(f.Rows, int(binary.LittleEndian.Uint32(order[4*i:])))
		if err := s.Row(f.Rows[i], f.Values[i*s.Width:(i+1)*s.Width]); err != nil {
			return f, err
		}
	}
	return f, nil
}

func openStore(dir, key string, rows, width int) (*Store, error) {
	if err := storage.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("feature store: %w", err)
	}
	s := &Store{Width: width, rows: rows, path: filepath.Join(dir, key[:16]+".f32"), synced: time.Now(), buf: make([]byte, 4*width+4)}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("feature store: %w", err)
	}
	header := s.header(key)
	if s.restore(header) {
		return s, nil
	}
	s.progress = storeProgress{}
	err := errors.Join(s.file.Truncate(0), s.file.Truncate(s.rowAt(rows)))
	if err == nil {
		_, err = s.file.WriteAt(header, 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("feature store %s, %d bytes: %w", s.path, s.rowAt(rows), err), s.Close())
	}
	return s, nil
}

// open opens a file that only this run uses.
func (s *Store) open() (err error) {
	var held *storage.Held
	s.lock, err = storage.TakeLock(s.path + ".lock")
	switch {
	case errors.As(err, &held):
		s.path = fmt.Sprintf("%s-%d", s.path, os.Getpid())
	case err != nil:
		return err
	}
	if s.file, err = storage.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o666); err != nil {
		return errors.Join(err, s.release())
	}
	if s.lock == nil {
		_ = storage.Remove(s.path) // possible only where an open file can be removed; otherwise the method Remove does it
	}
	return nil
}

func (s *Store) release() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Release()
}

func (s *Store) header(key string) []byte {
	h := sha256.Sum256([]byte(key))
	b := append([]byte(storeMagic), h[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.rows))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Width))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, storage.Castagnoli))
}

// orderAt is the offset of the number of the n-th row that was put.
func (s *Store) orderAt(n int) int64 { return storePage + 4*int64(n) }

// rowAt is the offset of a row; for the row after the last it is the file's size.
func (s *Store) rowAt(r int) int64 { return s.orderAt(s.rows) + int64(r)*int64(len(s.buf)) }

// restore adopts the rows that an earlier run left under the same header, if every finished
// row matches its checksum.
func (s *Store) restore(header []byte) bool {
	info, err := s.file.Stat()
	if err != nil || info.Size() != s.rowAt(s.rows) {
		return false
	}
	got := make([]byte, storeHeader)
	if _, err := s.file.ReadAt(got, 0); err != nil || string(got) != string(header) {
		return false
	}
	for _, at := range slotAt {
		var b [slotBytes]byte
		if _, err := s.file.ReadAt(b[:], at); err != nil {
			return false
		}
		if p, ok := decodeProgress(b); ok && p.turn > s.progress.turn {
			s.progress = p
		}
	}
	if int64(s.progress.put) > int64(s.rows) {
		return false
	}
	order := make([]byte, 4*s.progress.put)
	if _, err := s.file.ReadAt(order, s.orderAt(0)); err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	if crc32.Checksum(order, storage.Castagnoli) != s.progress.orderCRC {
		return false
	}
	for ; len(order) > 0; order = order[4:] {
		if s.read(int(binary.LittleEndian.Uint32(order))) != nil {
			return false
		}
	}
	return true
}

func (p storeProgress) encode() (b [slotBytes]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], p.turn)
	le.PutUint32(b[4:], p.batches)
	le.PutUint32(b[8:], p.put)
	le.PutUint32(b[12:], p.orderCRC)
	le.PutUint32(b[16:], crc32.Checksum(b[:16], storage.Castagnoli))
	return b
}

func decodeProgress(b [slotBytes]byte) (storeProgress, bool) {
	le := binary.LittleEndian
	p := storeProgress{turn: le.Uint32(b[0:]), batches: le.Uint32(b[4:]), put: le.Uint32(b[8:]), orderCRC: le.Uint32(b[12:])}
	return p, p.encode() == b
}

// Batches is the number of batches of the pass that are already in the table.
func (s *Store) Batches() int { return int(s.progress.batches) }

// Rows is the number of rows of the pass that are already in the table: the first ones in its
// order.
func (s *Store) Rows() int { return int(s.progress.put) }

// Put writes the rows of the next batch; values has len(rows) rows of Width. A row is put
// once.
func (s *Store) Put(rows []int, values []float32) error {
	p := s.progress
	if s.memory != nil {
		for i, r := range rows {
			copy(s.memory[r*s.Width:(r+1)*s.Width], values[i*s.Width:])
		}
		s.progress.batches++
		s.progress.put += uint32(len(rows))
		return nil
	}
	for i, r := range rows {
		for j, v := range values[i*s.Width : (i+1)*s.Width] {
			binary.LittleEndian.PutUint32(s.buf[4*j:], math.Float32bits(v))
		}
		binary.LittleEndian.PutUint32(s.buf[4*s.Width:], s.checksum(r))
		var number [4]byte
		binary.LittleEndian.PutUint32(number[:], uint32(r))
		_, err := s.file.WriteAt(s.buf, s.rowAt(r))
		if err == nil {
			_, err = s.file.WriteAt(number[:], s.orderAt(int(p.put)))
		}
		if err != nil {
			return fmt.Errorf("feature store %s, row %d: %w", s.path, r, err)
		}
		p.put++
		p.orderCRC = crc32.Update(p.orderCRC, storage.Castagnoli, number[:])
	}
	p.batches++
	s.progress = p
	if time.Since(s.synced) >= syncEvery {
		return s.Sync()
	}
	return nil
}

// checksum is that of row r whose values are in buf.
func (s *Store) checksum(r int) uint32 {
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], uint64(r))
	return crc32.Update(crc32.Checksum(number[:], storage.Castagnoli), storage.Castagnoli, s.buf[:4*s.Width])
}

// Sync writes everything to disk, the rows first, then the progress.
func (s *Store) Sync() error {
	if s.memory != nil {
		return nil
	}
	s.synced = time.Now()
	s.progress.turn++
	b := s.progress.encode()
	err := s.file.Sync()
	if err == nil {
		_, err = s.file.WriteAt(b[:], slotAt[s.progress.turn%2])
	}
	if err == nil {
		err = s.file.Sync()
	}
	if err == nil && s.lock != nil {
		err = storage.SyncDir(filepath.Dir(s.path))
	}
	if err != nil {
		return fmt.Errorf("feature store %s: %w", s.path, err)
	}
	return nil
}

// Row reads one row into dst, which has Width elements.
func (s *Store) Row(r int, dst []float32) error {
	if s.memory != nil {
		copy(dst, s.memory[r*s.Width:(r+1)*s.Width])
		return nil
	}
	if err := s.read(r); err != nil {
		return err
	}
	for j := range dst {
		dst[j] = math.Float32frombits(binary.LittleEndian.Uint32(s.buf[4*j:]))
	}
	return nil
}

// read reads a row into buf and verifies its checksum.
func (s *Store) read(r int) error {
	if r < 0 || r >= s.rows {
		return fmt.Errorf("feature store %s: there is no row %d of %d", s.path, r, s.rows)
	}
	if _, err := s.file.ReadAt(s.buf, s.rowAt(r)); err != nil {
		return fmt.Errorf("feature store %s, row %d: %w", s.path, r, err)
	}
	if binary.LittleEndian.Uint32(s.buf[4*s.Width:]) != s.checksum(r) {
		return fmt.Errorf("feature store %s: row %d is damaged: start again, and the damaged rows are computed again", s.path, r)
	}
	return nil
}

// Close keeps the table for a later run.
func (s *Store) Close() error {
	if s.memory != nil {
		return nil
	}
	if s.lock == nil {
		return errors.Join(s.file.Close(), storage.RemoveIfThere(s.path))
	}
	return errors.Join(s.Sync(), s.file.Close(), s.release())
}

// Remove deletes the table when it is no longer needed.
func (s *Store) Remove() error {
	if s.memory != nil {
		return nil
	}
	return errors.Join(s.file.Close(), storage.RemoveIfThere(s.path), s.release())
}

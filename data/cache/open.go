package cache

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"sync"
	"unsafe"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
)

// trust decides whether a folder's content is compared with its checksums.
type trust bool

const (
	verified trust = false
	trusted  trust = true // written by this process a moment ago
)

// open maps a folder; os.ErrNotExist where there is none. Inconsistent content, or content that
// differs from its checksum, is an error.
func open(dir string, t trust, spillAfter int) (d *Data, err error) {
	defer storage.CatchFault(&err)()
	m, err := readManifest(dir)
	if err != nil {
		return nil, err
	}
	r := &reader{manifest: m}
	err = r.mapAll(dir)
	if err == nil && t == verified && m.Version > 2 {
		err = errors.Join(verify(tokensFile, r.tokenBytes, m.TokensCRC), verify(membersFile, r.members, m.MembersCRC))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), r.unmap())
	}
	if d, err = r.data(dir, spillAfter); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w: remove the folder to have it built again", dir, err), r.unmap())
	}
	keep(r)
	d.Key, d.Path, d.Warnings, d.most, d.unmap = m.Key, dir, m.Warnings, m.MaxToken, r.unmap
	return d, nil
}

func readManifest(dir string) (manifest, error) {
	var m manifest
	path := filepath.Join(dir, storage.ManifestFile)
	text, err := storage.ReadFile(path)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if m.Format != formatName {
		return m, fmt.Errorf("%s: this is not %s (format %q)", path, formatName, m.Format)
	}
	if m.Version < 2 || m.Version > formatVersion {
		return m, fmt.Errorf("%s: version %d of the format, and this program reads 2 to %d: name another folder, or remove this one to have it built again", path, m.Version, formatVersion)
	}
	if m.Version > 2 && m.CRC != m.checksum() {
		return m, fmt.Errorf("%s is damaged: its content does not match its checksum", path)
	}
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) != 1 {
		return m, fmt.Errorf("%s: the format is little-endian, this machine is not", path)
	}
	return m, nil
}

// reader turns the files of a folder into examples.
type reader struct {
	manifest       manifest
	tokens         []int32
	tokenBytes     []byte // the same
	index, members []byte
	unmaps         []func() error
	ids            []data.ID // of members, filled as rows are read
}

// kept is the readers whose examples are in use. Examples in a spill's file do not keep the
// strings and the members alive that they point to; their reader does.
var kept struct {
	sync.Mutex
	readers map[*reader]bool
}

func keep(r *reader) {
	kept.Lock()
	defer kept.Unlock()
	if kept.readers == nil {
		kept.readers = map[*reader]bool{}
	}
	kept.readers[r] = true
}

func (r *reader) unmap() (err error) {
	kept.Lock()
	delete(kept.readers, r)
	kept.Unlock()
	for _, f := range r.unmaps {
		err = errors.Join(err, f())
	}
	r.unmaps = nil
	return err
}

func (r *reader) mapOne(path string, want int64) ([]byte, error) {
	b, unmap, err := storage.Map(path)
	if err != nil {
		return nil, err
	}
	r.unmaps = append(r.unmaps, unmap)
	if int64(len(b)) != want {
		return nil, fmt.Errorf("%s has %d bytes where %d are expected", filepath.Base(path), len(b), want)
	}
	return b, nil
}

func (r *reader) mapAll(dir string) error {
	rows := 0
	for _, s := range r.manifest.Sets {
		rows += s.Rows
	}
	tokens, err := r.mapOne(filepath.Join(dir, tokensFile), 4*r.manifest.Tokens)
	if err != nil {
		return err
	}
	r.tokens, r.tokenBytes = asInts(tokens), tokens
	if r.index, err = r.mapOne(filepath.Join(dir, indexFile), indexBytes*int64(rows)); err != nil {
		return err
	}
	if r.members, err = r.mapOne(filepath.Join(dir, membersFile), memberBytes*r.manifest.Members); err != nil {
		return err
	}
	if crc32.Checksum(r.index, storage.Castagnoli) != r.manifest.IndexCRC {
		return fmt.Errorf("%s is damaged: its checksum differs from the manifest's", indexFile)
	}
	return nil
}

func asInts(b []byte) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// data makes the examples of all sets.
func (r *reader) data(dir string, spillAfter int) (*Data, error) {
	d := &Data{}
	r.ids = make([]data.ID, 0, r.manifest.Members)
	trained := 0
	for _, s := range r.manifest.Sets {
		if s.Role == roleTrain {
			trained += s.Rows
		}
	}
	d.Labels = make([]int32, 0, trained)
	rows := newSpill[data.Example](spillAfter, dir)
	defer closeAll(rows)
	for _, s := range r.manifest.Sets {
		for i := range s.Rows {
			e := getEntry(r.index[indexBytes*rows.len():])
			ex, err := r.example(e)
			if err == nil {
				err = rows.add(ex)
			}
			if err != nil {
				return nil, fmt.Errorf("%s, row %d of set %q: %w", indexFile, i, s.Name, err)
			}
			if s.Role == roleTrain {
				d.Labels = append(d.Labels, e.labelled)
			}
		}
	}
	all, unmap, err := rows.all()
	if err != nil {
		return nil, err
	}
	r.unmaps = append(r.unmaps, unmap)
	at := 0
	for _, s := range r.manifest.Sets {
		set := Set{Name: s.Name, Examples: all[at : at+s.Rows : at+s.Rows]}
		at += s.Rows
		switch s.Role {
		case roleTrain:
			if len(d.Eval)+len(d.Mixer) > 0 {
				return nil, fmt.Errorf("the training set %q comes after sets of other roles", s.Name)
			}
			d.Train = all[:at:at]
			if s.Name != "" {
				d.Each = append(d.Each, set)
			}
		case roleMixer:
			d.Mixer = append(d.Mixer, set)
		default:
			d.Eval = append(d.Eval, set)
		}
	}
	return d, nil
}

// example reads a row out of the mapped tokens.
func (r *reader) example(e entry) (data.Example, error) {
	var ex data.Example
	if e.n < 0 || e.segments < 0 || e.at < 0 || e.at > int64(len(r.tokens))-e.size() {
		return ex, fmt.Errorf("the row is outside %s", tokensFile)
	}
	if e.members < 0 || e.memberAt < 0 || e.memberAt > r.manifest.Members-int64(e.members) || len(r.ids)+int(e.members) > cap(r.ids) {
		return ex, fmt.Errorf("the row's members are outside %s", membersFile)
	}
	rest := r.tokens[e.at : e.at+e.size() : e.at+e.size()]
	take := func(n int32) []int32 {
		part := rest[:n:n]
		rest = rest[n:]
		return part
	}
	ex.InputIDs = take(e.n)
	ex.Labels = ex.InputIDs
	if e.flags&sameLabels == 0 {
		ex.Labels = take(e.n)
	}
	if e.flags&hasPositions != 0 {
		ex.PositionIDs = take(e.n)
	}
	if e.segments > 0 {
		ex.Segments = take(e.segments)
	}
	if e.flags&hasWeight != 0 {
		ex.RowWeight = data.RowWeight{Given: true, Value: math.Float32frombits(uint32(take(1)[0]))}
	}
	if e.subtask < 0 || int(e.subtask) > len(r.manifest.Subtasks) {
		return ex, fmt.Errorf("there is no subtask number %d", e.subtask)
	}
	if e.subtask > 0 {
		ex.Subtask = r.manifest.Subtasks[e.subtask-1]
	}
	var err error
	ex.ID, err = r.id(uint64(e.dataset), uint64(e.row))
	if e.members == 0 || err != nil {
		return ex, err
	}
	from := len(r.ids)
	for i := range int64(e.members) {
		m := r.members[memberBytes*(e.memberAt+i):]
		id, err := r.id(binary.LittleEndian.Uint64(m), binary.LittleEndian.Uint64(m[8:]))
		if err != nil {
			return ex, err
		}
		r.ids = append(r.ids, id)
	}
	ex.Members = r.ids[from:len(r.ids):len(r.ids)]
	return ex, nil
}

func (r *reader) id(dataset, row uint64) (data.ID, error) {
	if dataset >= uint64(len(r.manifest.Datasets)) {
		return data.ID{}, fmt.Errorf("there is no dataset number %d", dataset)
	}
	return data.ID{Dataset: r.manifest.Datasets[dataset], Row: int(row)}, nil
}

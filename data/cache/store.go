package cache

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"io"
	"math"
	"path/filepath"
	"unsafe"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
)

// The format is a folder with
//
//	manifest.json  what it holds (manifest below); a folder without one is incomplete
//	tokens.i32     little-endian int32; of each row: ids, labels unless they equal the
//	               ids, positions if it has them, segments, the bits of its weight (float32)
//	               if it has one
//	index.bin      a record of indexBytes for every row, set after set
//	members.bin    16 bytes for every member of a packed row: dataset, row
const (
	formatName    = "dataflex tokenised data"
	formatVersion = 4 // 2 had checksums of the index alone, 3 no weights

	tokensFile  = "tokens.i32"
	indexFile   = "index.bin"
	membersFile = "members.bin"
	rowsFile    = "rows.i32" // before packing; removed once the folder is complete
)

// manifest is manifest.json.
type manifest struct {
	Format   string    `json:"format"`
	Version  int       `json:"version"`
	Key      string    `json:"key"`
	Datasets []string  `json:"datasets"`           // by number
	Subtasks []string  `json:"subtasks,omitempty"` // by number less one
	Sets     []setInfo `json:"sets"`
	Tokens   int64     `json:"tokens"`    // int32s in tokens.i32
	Members  int64     `json:"members"`   // records in members.bin
	MaxToken int       `json:"max_token"` // the largest id
	Warnings []string  `json:"warnings"`

	IndexCRC   uint32   `json:"index_crc32c"`
	TokensCRC  []uint32 `json:"tokens_crc32c"` // of every checksumBlock
	MembersCRC []uint32 `json:"members_crc32c"`
	CRC        uint32   `json:"crc32c"` // of the manifest with this field 0
}

// setInfo is a contiguous range of rows in the index.
type setInfo struct {
	Role string `json:"role"` // train, eval or mixer
	Name string `json:"name,omitempty"`
	Rows int    `json:"rows"`
}

const (
	roleTrain = "train"
	roleEval  = "eval"
	roleMixer = "mixer"
)

// entry describes a row of the index.
type entry struct {
	at       int64 // offset in tokens.i32, in int32s
	n        int32 // tokens
	labelled int32 // labels that contribute to the loss
	dataset  int32
	flags    int32
	row      int64
	segments int32 // numbers in the row's segments; 0 = none
	members  int32
	memberAt int64
	subtask  int32 // number of the subtask; 0 = none
}

const indexBytes = 52

// The flags of an entry.
const (
	sameLabels   = 1 << iota // the labels equal the ids
	hasPositions             // packed rows of SFT
	hasWeight                // the row has a weight of its own; its bits follow the segments
)

func (e entry) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint64(b, uint64(e.at))
	le.PutUint32(b[8:], uint32(e.n))
	le.PutUint32(b[12:], uint32(e.labelled))
	le.PutUint32(b[16:], uint32(e.dataset))
	le.PutUint32(b[20:], uint32(e.flags))
	le.PutUint64(b[24:], uint64(e.row))
	le.PutUint32(b[32:], uint32(e.segments))
	le.PutUint32(b[36:], uint32(e.members))
	le.PutUint64(b[40:], uint64(e.memberAt))
	le.PutUint32(b[48:], uint32(e.subtask))
}

func getEntry(b []byte) entry {
	le := binary.LittleEndian
	return entry{
		at: int64(le.Uint64(b)), n: int32(le.Uint32(b[8:])), labelled: int32(le.Uint32(b[12:])), dataset: int32(le.Uint32(b[16:])),
		flags: int32(le.Uint32(b[20:])), row: int64(le.Uint64(b[24:])), segments: int32(le.Uint32(b[32:])), members: int32(le.Uint32(b[36:])),
		memberAt: int64(le.Uint64(b[40:])), subtask: int32(le.Uint32(b[48:])),
	}
}

// size is the row's length in tokens.i32, in int32s.
func (e entry) size() int64 {
	n := int64(e.n)
	if e.flags&sameLabels == 0 {
		n += int64(e.n)
	}
	if e.flags&hasPositions != 0 {
		n += int64(e.n)
	}
	if e.flags&hasWeight != 0 {
		n++
	}
	return n + int64(e.segments)
}

// stream is a file that is only appended to.
type stream struct {
	file storage.File
	buf  *bufio.Writer
	sum  *checksum
}

// write appends to the file and its checksum.
func (s *stream) write(p []byte) error {
	s.sum.add(p)
	_, err := s.buf.Write(p)
	return err
}

func create(path string) (*stream, error) {
	f, err := storage.Create(path)
	if err != nil {
		return nil, err
	}
	return &stream{f, bufio.NewWriterSize(f, 1<<20), &checksum{}}, nil
}

// finish makes the file durable.
func (s *stream) finish() error {
	if err := s.buf.Flush(); err != nil {
		return err
	}
	return s.file.Sync()
}

// ints appends numbers in the machine's byte order, which must be little-endian; open checks
// it.
func (s *stream) ints(x []int32) error {
	if len(x) == 0 {
		return nil
	}
	return s.write(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x)))
}

// tokens is a tokens.i32 being written.
type tokens struct {
	stream
	at  int64
	max int32
}

func createTokens(path string) (*tokens, error) {
	s, err := create(path)
	if err != nil {
		return nil, err
	}
	return &tokens{stream: *s}, nil
}

// add writes encoded rows and returns the offset of the first.
func (t *tokens) add(encoded []int32, most int32) (at int64, err error) {
	at = t.at
	t.at += int64(len(encoded))
	t.max = max(t.max, most)
	return at, t.ints(encoded)
}

// appendRow appends a row in the file's layout and describes it, except for its dataset and
// members; at counts from the start of dst. most is the largest token so far.
func appendRow(dst []int32, ex data.Example, most int32) ([]int32, entry, int32) {
	e := entry{at: int64(len(dst)), n: int32(len(ex.InputIDs)), row: int64(ex.Row), segments: int32(len(ex.Segments)), flags: sameLabels}
	for i, id := range ex.InputIDs {
		most = max(most, id)
		if ex.Labels == nil { // a document that will be packed
			continue
		}
		l := ex.Labels[i]
		if l != id {
			e.flags &^= sameLabels
		}
		if l != data.IgnoreIndex {
			e.labelled++
		}
	}
	dst = append(dst, ex.InputIDs...)
	if e.flags&sameLabels == 0 {
		dst = append(dst, ex.Labels...)
	}
	if ex.PositionIDs != nil {
		e.flags |= hasPositions
		dst = append(dst, ex.PositionIDs...)
	}
	dst = append(dst, ex.Segments...)
	if ex.Given {
		e.flags |= hasWeight
		dst = append(dst, int32(math.Float32bits(ex.Value)))
	}
	return dst, e, most
}

// index writes index.bin and members.bin.
type index struct {
	rows, members stream
	crc           uint32
	membersAt     int64
	record        [indexBytes]byte
}

func createIndex(dir string) (*index, error) {
	rows, err := create(filepath.Join(dir, indexFile))
	if err != nil {
		return nil, err
	}
	members, err := create(filepath.Join(dir, membersFile))
	if err != nil {
		return nil, err
	}
	return &index{rows: *rows, members: *members}, nil
}

// add writes a row's record; number maps a dataset to its number.
func (x *index) add(e entry, members []data.ID, number func(dataset string) int) error {
	e.members, e.memberAt = int32(len(members)), x.membersAt
	x.membersAt += int64(len(members))
	for _, m := range members {
		binary.LittleEndian.PutUint64(x.record[:], uint64(number(m.Dataset)))
		binary.LittleEndian.PutUint64(x.record[8:], uint64(m.Row))
		if err := x.members.write(x.record[:memberBytes]); err != nil {
			return err
		}
	}
	e.put(x.record[:])
	x.crc = crc32.Update(x.crc, storage.Castagnoli, x.record[:])
	return x.rows.write(x.record[:])
}

const memberBytes = 16

// writeManifest writes the file that marks the folder as complete.
func writeManifest(path string, m manifest) error {
	m.Format, m.Version = formatName, formatVersion
	m.CRC = m.checksum()
	return storage.WriteFile(path, m.encode())
}

func (m manifest) encode() []byte {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		panic(err) // a manifest holds strings and numbers only
	}
	return append(text, '\n')
}

// checksum is what CRC should be.
func (m manifest) checksum() uint32 {
	m.CRC = 0
	return crc32.Checksum(m.encode(), storage.Castagnoli)
}

// closeAll closes what was opened; errors that matter were returned by finish.
func closeAll(files ...io.Closer) {
	for _, f := range files {
		_ = f.Close()
	}
}

package reward

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// Kept is a file with a judge's answers in one selection. They are written as they come, so
// that a run that is interrupted or whose judge fails does not ask, and pay, for them again.
// The file is for one process at a time: the selection's lock is held. A nil Kept keeps nothing.
//
// A line is an answer and the CRC32C of the line with crc32c 0; other lines are passed by, and
// their questions asked again. An answer belongs to a question if the judge's identity, the
// question's text and the number of equal questions before it are the same.
type Kept struct {
	path  string
	log   *slog.Logger
	known map[string]keptAnswer
	file  storage.File // nil until there is something to write, or where writing has failed
	off   bool         // writing has failed
}

type keptAnswer struct {
	Question string  `json:"question"` // SHA-256, hexadecimal
	Points   float64 `json:"points"`
	OutOf    float64 `json:"out_of"`
	Text     string  `json:"text"` // the end of what the judge wrote, for messages
	CRC      uint32  `json:"crc32c"`
}

// Keeper is a Reward whose answers cost money or time that a failure should not lose.
type Keeper interface {
	Keep(k *Kept) Reward
}

const (
	keptPrefix, keptSuffix = "answers_", ".jsonl"

	keptBytes = 256 << 20 // of all such files in a folder; the oldest are removed
)

// KeepIn reads the answers that were kept in dir for the selection with that key. What cannot
// be read is asked again.
func KeepIn(dir, key string, log *slog.Logger) *Kept {
	k := &Kept{path: filepath.Join(dir, keptPrefix+key[:min(32, len(key))]+keptSuffix), log: log, known: map[string]keptAnswer{}}
	raw, err := storage.ReadFile(k.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("answers of the judge that were kept cannot be read and are asked for again: " + err.Error())
	}
	damaged := 0
	for line := range bytes.Lines(raw) {
		a, ok := decodeKept(line)
		switch {
		case ok:
			k.known[a.Question] = a
		case bytes.HasSuffix(line, []byte{'\n'}): // not cut off by a kill
			damaged++
		}
	}
	if damaged > 0 {
		log.Warn("some answers of the judge that were kept are damaged and are asked for again", "file", k.path, "lines", damaged)
	}
	return k
}

func (a keptAnswer) encode() []byte {
	a.CRC = 0
	line, err := json.Marshal(a)
	if err != nil {
		panic(err) // finite numbers and valid text only
	}
	a.CRC = crc32.Checksum(line, storage.Castagnoli)
	line, _ = json.Marshal(a)
	return append(line, '\n')
}

func decodeKept(line []byte) (a keptAnswer, ok bool) {
	err := json.Unmarshal(line, &a)
	return a, err == nil && bytes.Equal(a.encode(), line)
}

func (a keptAnswer) mark() mark { return mark{a.Points, a.OutOf} }

// questions are the names under which answers to texts are kept. judge is everything besides
// the text on which an answer may depend.
func (k *Kept) questions(judge string, texts [][]byte) []string {
	if k == nil {
		return make([]string, len(texts))
	}
	names, seen := make([]string, len(texts)), map[string]int{}
	for i, text := range texts {
		seen[string(text)]++
		h := sha256.New()
		fmt.Fprintf(h, "%q %d ", judge, seen[string(text)])
		h.Write(text)
		names[i] = hex.EncodeToString(h.Sum(nil))
	}
	if n := k.count(names); n > 0 {
		k.log.Info("answers of the judge from an interrupted attempt are used and not asked for again", "kept", n, "of", len(names), "file", k.path)
	}
	return names
}

func (k *Kept) count(names []string) (n int) {
	for _, name := range names {
		if _, ok := k.find(name); ok {
			n++
		}
	}
	return n
}

func (k *Kept) find(question string) (a keptAnswer, ok bool) {
	if k != nil {
		a, ok = k.known[question]
	}
	return a, ok
}

// add keeps answers durably. Where they cannot be written the selection goes on without.
func (k *Kept) add(answers ...keptAnswer) {
	if k == nil || k.off || len(answers) == 0 {
		return
	}
	var lines []byte
	for _, a := range answers {
		a.Text = strings.ToValidUTF8(end(a.Text), "\ufffd")
		lines = append(lines, a.encode()...)
	}
	err := k.open()
	if err == nil {
		_, err = k.file.Write(lines)
	}
	if err == nil {
		err = k.file.Sync()
	}
	if err != nil {
		k.off = true
		k.log.Warn("the judge's answers cannot be kept: a failure of the run would lose them", "error", err)
	}
}

// open opens the file to append. A line that a kill has cut off is removed.
func (k *Kept) open() error {
	if k.file != nil {
		return nil
	}
	dir := filepath.Dir(k.path)
	if err := storage.MkdirAll(dir); err != nil {
		return err
	}
	dropOldest(dir, filepath.Base(k.path))
	raw, err := storage.ReadFile(k.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if k.file, err = storage.OpenFile(k.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666); err != nil {
		return err
	}
	if whole := bytes.LastIndexByte(raw, '\n') + 1; whole < len(raw) {
		err = k.file.Truncate(int64(whole))
	}
	return errors.Join(err, storage.SyncDir(dir))
}

// drop removes answers that cannot be used together, so that the next attempt asks again.
func (k *Kept) drop() {
	if k == nil {
		return
	}
	if err := storage.RemoveIfThere(k.path); err != nil {
		k.log.Warn("answers of the judge that cannot be used are still kept: remove the file", "error", err)
	}
}

// Close ends writing. The file stays: until the next checkpoint the selection may be made again.
func (k *Kept) Close() error {
	if k == nil || k.file == nil {
		return nil
	}
	return k.file.Close()
}

// dropOldest removes the files of the oldest selections, but not own, while there is more than
// keptBytes.
func dropOldest(dir, own string) {
	entries, err := storage.ReadDir(dir)
	if err != nil {
		return
	}
	type aged struct {
		name    string
		size    int64
		changed time.Time
	}
	var files []aged
	var total int64
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), keptPrefix) || !strings.HasSuffix(e.Name(), keptSuffix) || !e.Type().IsRegular() || e.Name() == own {
			continue
		}
		if info, err := e.Info(); err == nil {
			files, total = append(files, aged{e.Name(), info.Size(), info.ModTime()}), total+info.Size()
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return cmp.Or(a.changed.Compare(b.changed), strings.Compare(a.name, b.name)) })
	for _, f := range files {
		if total <= keptBytes {
			return
		}
		if err := storage.Remove(filepath.Join(dir, f.name)); err == nil {
			total -= f.size
		}
	}
}

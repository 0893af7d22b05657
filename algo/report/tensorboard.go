package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Events writes scalars for TensorBoard: a TFRecord file of tensorflow.Event messages. Every
// open creates a new file; TensorBoard merges the files of a folder.
type Events struct{ f storage.File }

// OpenEvents starts a new events file in a folder, which is created if missing.
func OpenEvents(dir string) (*Events, error) {
	if err := storage.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("tensorboard: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	now := time.Now()
	for n := 0; ; n++ { // TensorBoard reads a folder's files in the order of their names
		path := filepath.Join(dir, fmt.Sprintf("events.out.tfevents.%010d.%s.%d.%d", now.Unix(), host, os.Getpid(), n))
		f, err := storage.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o666)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("tensorboard: %w", err)
		}
		e := &Events{f}
		if err := e.write(now, 0, eventVersion, []byte("brain.Event:2")); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return e, nil
	}
}

// Fields of the protocol buffers (tensorflow/core/util/event.proto and
// tensorflow/core/framework/summary.proto).
const (
	eventTime    = 1 // double
	eventStep    = 2 // int64
	eventVersion = 3 // string
	eventSummary = 5 // Summary
	eventSession = 7 // SessionLog

	summaryValue  = 1 // repeated Value
	valueTag      = 1 // string
	valueSimple   = 2 // float
	sessionStatus = 1 // enum, START = 1
	sessionStart  = 1
)

// The wire types of protocol buffers.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// Scalar writes one value; TensorBoard stores it as a float32.
func (e *Events) Scalar(step int, tag string, value float64) error {
	return e.write(time.Now(), step, eventSummary, appendValue(nil, tag, value))
}

// Log writes every number of a log history's entry (except its step) at its step, under the
// tags of Hugging Face's callback.
func (e *Events) Log(entry pyjson.Object) error {
	step, ok := entry.Get("step").(int)
	if !ok {
		return fmt.Errorf("tensorboard: a log entry without a step")
	}
	var summary []byte
	for _, f := range entry {
		if f.Key == "step" {
			continue
		}
		switch v := f.Value.(type) {
		case int:
			summary = appendValue(summary, Tag(f.Key), float64(v))
		case float64:
			summary = appendValue(summary, Tag(f.Key), v)
		}
	}
	return e.write(time.Now(), step, eventSummary, summary)
}

// Resume tells readers that the run continues after a step: the values of later steps in
// earlier files are superseded.
func (e *Events) Resume(step int) error {
	status := binary.AppendUvarint(nil, sessionStatus<<3|wireVarint)
	return e.write(time.Now(), step+1, eventSession, binary.AppendUvarint(status, sessionStart))
}

// Close ends the file.
func (e *Events) Close(bool) error { return e.f.Close() }

// Tag is the tag of a log history's key: eval/loss for eval_loss, train/loss for
// loss.
func Tag(key string) string {
	for _, group := range []string{"eval", "test"} {
		if rest, ok := strings.CutPrefix(key, group+"_"); ok {
			return group + "/" + rest
		}
	}
	return "train/" + key
}

func appendValue(summary []byte, tag string, value float64) []byte {
	v := appendBytes(nil, valueTag, []byte(tag))
	v = binary.AppendUvarint(v, valueSimple<<3|wireFixed32)
	v = binary.LittleEndian.AppendUint32(v, math.Float32bits(float32(value)))
	return appendBytes(summary, summaryValue, v)
}

func appendBytes(b []byte, field uint64, v []byte) []byte {
	b = binary.AppendUvarint(b, field<<3|wireBytes)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// write appends an event in a single write, so that after a kill at most the last record is
// incomplete.
func (e *Events) write(at time.Time, step int, field uint64, content []byte) error {
	event := binary.AppendUvarint(nil, eventTime<<3|wireFixed64)
	event = binary.LittleEndian.AppendUint64(event, math.Float64bits(float64(at.UnixNano())/1e9))
	event = binary.AppendUvarint(event, eventStep<<3|wireVarint)
	event = binary.AppendUvarint(event, uint64(step))
	event = appendBytes(event, field, content)

	record := binary.LittleEndian.AppendUint64(nil, uint64(len(event)))
	record = binary.LittleEndian.AppendUint32(record, maskedSum(record))
	record = append(record, event...)
	record = binary.LittleEndian.AppendUint32(record, maskedSum(event))
	if _, err := e.f.Write(record); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedSum is TFRecord's checksum: CRC-32C, rotated right by 15, plus a constant.
func maskedSum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

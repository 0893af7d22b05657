package checkpoint

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxHeader is the limit of the safetensors format itself, in bytes.
const maxHeader = 100_000_000

// entry is one tensor of a safetensors header. Offsets count from the first byte after the
// header.
type entry struct {
	name       string
	dtype      string
	shape      []int
	begin, end uint64
}

// bitsPerElement lists every dtype of the format (safetensors 0.8).
var bitsPerElement = map[string]uint64{
	"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
	"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
	"I16": 16, "U16": 16, "F16": 16, "BF16": 16,
	"I32": 32, "U32": 32, "F32": 32,
	"F64": 64, "I64": 64, "U64": 64, "C64": 64,
}

// parseHeader reads and validates the header at the start of file, which is the whole file.
// Everything it allocates is proportional to the header's own text. The rules are those of
// safetensors: a header of at most 100 MB that starts with '{', no duplicate key, and
// offsets that cover the rest of the file exactly.
func parseHeader(file []byte) (entries []entry, metadata map[string]string, dataStart uint64, err error) {
	text, err := headerText(file)
	if err != nil {
		return nil, nil, 0, err
	}
	entries, metadata, err = decodeHeader(text)
	if err != nil {
		return nil, nil, 0, err
	}
	dataStart = 8 + uint64(len(text))
	if err := checkLayout(entries, dataStart, uint64(len(file))); err != nil {
		return nil, nil, 0, err
	}
	return entries, metadata, dataStart, nil
}

// headerText returns the JSON text, or an error that names what the file is if it is not
// safetensors.
func headerText(file []byte) ([]byte, error) {
	if bytes.HasPrefix(file, []byte("version https://git-lfs")) {
		return nil, errors.New("this is a git-lfs pointer, not the weights: run `git lfs pull` in the model's folder")
	}
	if len(file) < 8 {
		return nil, fmt.Errorf("file has %d bytes, a safetensors file has at least 8: the download is incomplete", len(file))
	}
	n := binary.LittleEndian.Uint64(file)
	switch {
	case n > maxHeader:
		return nil, fmt.Errorf("header of %d bytes announced, the format allows %d: not a safetensors file, or a damaged one", n, maxHeader)
	case n > uint64(len(file)-8):
		return nil, fmt.Errorf("file has %d bytes, header says %d: the download is incomplete", len(file), 8+n)
	case n == 0 || file[8] != '{':
		return nil, errors.New("header does not start with '{': not a safetensors file, or a damaged one")
	}
	text := file[8 : 8+n]
	if !utf8.Valid(text) {
		return nil, errors.New("header is not UTF-8: not a safetensors file, or a damaged one")
	}
	return text, nil
}

// decodeHeader reads the JSON object token by token: encoding/json's own maps would silently
// accept a second key of the same name.
func decodeHeader(text []byte) ([]entry, map[string]string, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if _, err := d.Token(); err != nil {
		return nil, nil, headerJSON(err)
	}
	var entries []entry
	var metadata map[string]string
	seen := map[string]bool{}
	for d.More() {
		name, err := objectKey(d, seen)
		if err != nil {
			return nil, nil, err
		}
		if name == "__metadata__" {
			if metadata, err = decodeMetadata(d); err != nil {
				return nil, nil, err
			}
			continue
		}
		e, err := decodeEntry(d, name)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		entries = append(entries, e)
	}
	if _, err := d.Token(); err != nil {
		return nil, nil, headerJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("header has text after its JSON object")
	}
	return entries, metadata, nil
}

func headerJSON(err error) error { return fmt.Errorf("header is not valid JSON: %w", err) }

// objectKey reads the next key and refuses a duplicate.
func objectKey(d *json.Decoder, seen map[string]bool) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", headerJSON(err)
	}
	key := t.(string) // the decoder itself refuses other keys
	if seen[key] {
		return "", fmt.Errorf("header has the key %q twice", key)
	}
	seen[key] = true
	return key, nil
}

// openObject consumes a '{'.
func openObject(d *json.Decoder, what string) error {
	t, err := d.Token()
	if err != nil {
		return headerJSON(err)
	}
	if t != json.Delim('{') {
		return fmt.Errorf("%s is %v, want an object", what, t)
	}
	return nil
}

func decodeMetadata(d *json.Decoder) (map[string]string, error) {
	if err := openObject(d, "__metadata__"); err != nil {
		return nil, err
	}
	m, seen := map[string]string{}, map[string]bool{}
	for d.More() {
		key, err := objectKey(d, seen)
		if err != nil {
			return nil, err
		}
		t, err := d.Token()
		if err != nil {
			return nil, headerJSON(err)
		}
		s, ok := t.(string)
		if !ok {
			return nil, fmt.Errorf("__metadata__ %q is %v, want a string", key, t)
		}
		m[key] = s
	}
	if _, err := d.Token(); err != nil {
		return nil, headerJSON(err)
	}
	return m, nil
}

// decodeEntry reads {"dtype":…,"shape":[…],"data_offsets":[begin,end]}.
func decodeEntry(d *json.Decoder, name string) (entry, error) {
	e := entry{name: name}
	if err := openObject(d, "the entry"); err != nil {
		return e, err
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := objectKey(d, seen)
		if err != nil {
			return e, err
		}
		switch key {
		case "dtype":
			t, err := d.Token()
			if err != nil {
				return e, headerJSON(err)
			}
			s, ok := t.(string)
			if _, known := bitsPerElement[s]; !ok || !known {
				return e, fmt.Errorf("dtype %v is not one of safetensors'", t)
			}
			e.dtype = s
		case "shape":
			dims, err := decodeUints(d, key)
			if err != nil {
				return e, err
			}
			e.shape = make([]int, len(dims))
			for i, v := range dims {
				if e.shape[i] = int(v); e.shape[i] < 0 || uint64(e.shape[i]) != v {
					return e, fmt.Errorf("shape %v is too large", dims)
				}
			}
		case "data_offsets":
			o, err := decodeUints(d, key)
			if err != nil {
				return e, err
			}
			if len(o) != 2 {
				return e, fmt.Errorf("data_offsets has %d numbers, want 2", len(o))
			}
			e.begin, e.end = o[0], o[1]
		default:
			return e, fmt.Errorf("unknown key %q", key)
		}
	}
	if _, err := d.Token(); err != nil {
		return e, headerJSON(err)
	}
	for _, key := range []string{"dtype", "shape", "data_offsets"} {
		if !seen[key] {
			return e, fmt.Errorf("no %s", key)
		}
	}
	return e, nil
}

// decodeUints reads an array of non-negative integers.
func decodeUints(d *json.Decoder, what string) ([]uint64, error) {
	t, err := d.Token()
	if err != nil {
		return nil, headerJSON(err)
	}
	if t != json.Delim('[') {
		return nil, fmt.Errorf("%s is %v, want an array", what, t)
	}
	var out []uint64
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, headerJSON(err)
		}
		n, ok := t.(json.Number)
		v, perr := uint64(0), error(nil)
		if ok {
			v, perr = strconv.ParseUint(n.String(), 10, 64)
		}
		if !ok || perr != nil {
			return nil, fmt.Errorf("%s holds %v, want integers from 0 to 2^64-1", what, t)
		}
		out = append(out, v)
	}
	if _, err := d.Token(); err != nil {
		return nil, headerJSON(err)
	}
	return out, nil
}

// checkLayout refuses sizes that overflow or disagree, holes and overlaps.
func checkLayout(entries []entry, dataStart, fileSize uint64) error {
	slices.SortStableFunc(entries, func(a, b entry) int {
		switch {
		case a.begin != b.begin:
			return cmp.Compare(a.begin, b.begin)
		case a.end != b.end:
			return cmp.Compare(a.end, b.end)
		}
		return strings.Compare(a.name, b.name)
	})
	var at uint64
	for _, e := range entries {
		size, ok := byteSize(e.dtype, e.shape)
		switch {
		case !ok:
			return fmt.Errorf("tensor %q: %s %v overflows or is not a whole number of bytes", e.name, e.dtype, e.shape)
		case e.begin != at || e.end < e.begin:
			return fmt.Errorf("tensor %q: data_offsets [%d, %d] leave a hole or overlap, the tensor before ends at %d", e.name, e.begin, e.end, at)
		case e.end-e.begin != size:
			return fmt.Errorf("tensor %q: %s %v needs %d bytes, data_offsets [%d, %d] hold %d", e.name, e.dtype, e.shape, size, e.begin, e.end, e.end-e.begin)
		}
		at = e.end
	}
	want, carry := bits.Add64(dataStart, at, 0)
	switch {
	case carry != 0 || want > fileSize:
		return fmt.Errorf("file has %d bytes, header says %d: the download is incomplete", fileSize, want)
	case want < fileSize:
		return fmt.Errorf("file has %d bytes, header says %d: %d bytes at the end belong to no tensor", fileSize, want, fileSize-want)
	}
	return nil
}

// byteSize is the size of a tensor in bytes; false if it overflows or ends inside a byte.
func byteSize(dtype string, shape []int) (uint64, bool) {
	n := uint64(1)
	for _, d := range shape {
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 {
			return 0, false
		}
		n = lo
	}
	hi, lo := bits.Mul64(n, bitsPerElement[dtype])
	return lo / 8, hi == 0 && lo%8 == 0
}

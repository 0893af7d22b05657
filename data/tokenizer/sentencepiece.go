package tokenizer

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// piece is an entry of a SentencePiece model (sentencepiece_model.proto).
type piece struct {
	text  string
	score float32
	kind  uint64
}

// The kinds of pieces that matter here; GGUF files use these numbers for all tokenizers.
const (
	pieceNormal  = 1
	pieceUnknown = 2
	pieceControl = 3
	pieceUser    = 4
	pieceUnused  = 5
)

// pieceModel holds the fields of a tokenizer.model that are used.
type pieceModel struct {
	pieces    []piece
	algorithm uint64 // 1 unigram, 2 BPE
	unknown   string
	bos       int // its id where the file gives one; else 0
}

// convertPieces makes a tokenizer.json from a tokenizer.model as transformers' LlamaConverter
// does, and GemmaConverter for its classes.
func convertPieces(data []byte, class string, c *config) ([]byte, error) {
	m, err := readPieces(data)
	if err != nil {
		return nil, err
	}
	return m.convert(class, c)
}

// convert makes a tokenizer.json from the pieces.
func (m *pieceModel) convert(class string, c *config) ([]byte, error) {
	if m.algorithm != 1 && m.algorithm != 2 {
		return nil, errors.New("it is neither a BPE nor a unigram model: save the tokenizer as tokenizer.json with transformers (AutoTokenizer.from_pretrained(...).save_pretrained(...))")
	}
	gemma := class == "GemmaTokenizer"
	vocab := make(map[string]int, len(m.pieces))
	for i, p := range m.pieces {
		vocab[p.text] = i
	}
	if tab, ok := vocab["<0x09>"]; gemma && ok {
		if _, has := vocab["\t"]; !has { // Gemma's files lack the tab; transformers puts it in place of its byte
			vocab["\t"] = tab
			delete(vocab, "<0x09>")
		}
	}
	added := []any{}
	for i, p := range m.pieces {
		if p.kind == pieceControl || p.kind == pieceUser {
			special := p.kind == pieceControl || gemma && (p.text == "<start_of_turn>" || p.text == "<end_of_turn>")
			added = append(added, object{
				"id": i, "content": p.text, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special,
			})
		}
	}
	out := object{
		"version": "1.0", "added_tokens": added, "post_processor": nil,
		"model": object{"type": "BPE", "vocab": vocab, "merges": m.merges(), "unk_token": m.unknown, "fuse_unk": true, "byte_fallback": true},
	}
	if m.algorithm == 1 {
		pieces := make([]any, len(m.pieces))
		for i, p := range m.pieces {
			pieces[i] = []any{p.text, p.score}
		}
		unknown := 0
		if gemma {
			unknown = 3
		}
		out["model"] = object{"type": "Unigram", "vocab": pieces, "unk_id": unknown, "byte_fallback": true}
	}
	m.around(out, gemma, c)
	return marshal(out)
}

// around sets the steps around the model: how spaces are written.
func (m *pieceModel) around(out object, gemma bool, c *config) {
	mark := object{"type": "Replace", "pattern": object{"String": " "}, "content": spaceMark}
	decoders := []any{object{"type": "Replace", "pattern": object{"String": spaceMark}, "content": " "}, object{"type": "ByteFallback"}, object{"type": "Fuse"}}
	prefix := c.bool("add_prefix_space", true)
	switch {
	case gemma:
		out["normalizer"] = mark
		out["pre_tokenizer"] = object{"type": "Split", "pattern": object{"String": " "}, "behavior": "MergedWithPrevious", "invert": false}
		prefix = false
	case c.bool("legacy", true):
		steps := []any{mark}
		if prefix {
			steps = []any{object{"type": "Prepend", "prepend": spaceMark}, mark}
		}
		out["normalizer"] = object{"type": "Sequence", "normalizers": steps}
	default:
		scheme := "never"
		if prefix {
			scheme = "first"
		}
		out["pre_tokenizer"] = object{"type": "Metaspace", "replacement": spaceMark, "prepend_scheme": scheme, "split": false}
	}
	if prefix {
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	out["decoder"] = object{"type": "Sequence", "decoders": decoders}
	if c.bool("add_bos_token", true) && len(m.pieces) > 2 {
		bos, id := "<s>", 1
		if gemma {
			bos, id = "<bos>", 2
		}
		if m.bos > 0 {
			id = m.bos
		}
		if s := c.string("bos_token"); s != "" {
			bos = s
		}
		out["post_processor"] = afterBOS(bos, id)
	}
}

// afterBOS is the post-processor that puts a BOS in front of the text.
func afterBOS(bos string, id int) object {
	return object{
		"type":           "TemplateProcessing",
		"single":         []any{object{"SpecialToken": object{"id": bos, "type_id": 0}}, object{"Sequence": object{"id": "A", "type_id": 0}}},
		"pair":           []any{},
		"special_tokens": object{bos: object{"id": bos, "ids": []int{id}, "tokens": []string{bos}}},
	}
}

// merges are the pairs of pieces that make up another piece, those of the best piece first, in
// the order of transformers' generate_merges.
func (m *pieceModel) merges() [][2]string {
	type merge struct {
		left, right string
		score       float32
	}
	vocab := make(map[string]int, len(m.pieces))
	scores := make(map[string]float32, len(m.pieces))
	for i, p := range m.pieces {
		vocab[p.text], scores[p.text] = i, p.score
	}
	var all []merge
	for i, p := range m.pieces {
		if vocab[p.text] != i {
			continue // a duplicate piece counts once
		}
		first := len(all)
		for at := range p.text {
			left, right := p.text[:at], p.text[at:]
			_, l := vocab[left]
			_, r := vocab[right]
			if at > 0 && l && r {
				all = append(all, merge{left, right, scores[p.text]})
			}
		}
		slices.SortStableFunc(all[first:], func(a, b merge) int {
			return cmp.Or(cmp.Compare(vocab[a.left], vocab[b.left]), cmp.Compare(vocab[a.right], vocab[b.right]))
		})
	}
	slices.SortStableFunc(all, func(a, b merge) int { // Python's sort with reverse is stable
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(utf8.RuneCountInString(b.left), utf8.RuneCountInString(a.left)),
			cmp.Compare(utf8.RuneCountInString(b.right), utf8.RuneCountInString(a.right)))
	})
	out := make([][2]string, len(all))
	for i, x := range all {
		out[i] = [2]string{x.left, x.right}
	}
	return out
}

// readPieces reads a tokenizer.model.
func readPieces(data []byte) (*pieceModel, error) {
	m := &pieceModel{algorithm: 1, unknown: "<unk>"}
	err := message(data, func(field uint64, v []byte, _ uint64) error {
		switch field {
		case 1:
			p := piece{kind: pieceNormal}
			err := message(v, func(field uint64, v []byte, n uint64) error {
				switch field {
				case 1:
					p.text = string(v)
				case 2:
					p.score = math.Float32frombits(uint32(n))
				case 3:
					p.kind = n
				}
				return nil
			})
			if err == nil && (p.text == "" || !utf8.ValidString(p.text)) {
				err = fmt.Errorf("piece %d is empty or not UTF-8", len(m.pieces))
			}
			m.pieces = append(m.pieces, p)
			return err
		case 2: // trainer_spec
			return message(v, func(field uint64, v []byte, n uint64) error {
				switch field {
				case 3:
					m.algorithm = n
				case 45:
					m.unknown = string(v)
				}
				return nil
			})
		}
		return nil
	})
	if err == nil && len(m.pieces) == 0 {
		err = errors.New("it holds no pieces: is it a SentencePiece model?")
	}
	return m, err
}

// The wire types of Protocol Buffers' encoding (protobuf.dev/programming-guides/encoding).
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// message calls f with the fields of a protobuf message: the bytes of length-delimited fields,
// the number of the others.
func message(data []byte, f func(field uint64, v []byte, n uint64) error) error {
	for len(data) > 0 {
		tag, n := binary.Uvarint(data)
		if n <= 0 {
			return errWire
		}
		data = data[n:]
		var v []byte
		var number uint64
		switch kind := tag & 7; {
		case kind == wireVarint:
			number, n = binary.Uvarint(data)
		case kind == wireFixed64 && len(data) >= 8:
			number, n = binary.LittleEndian.Uint64(data), 8
		case kind == wireFixed32 && len(data) >= 4:
			number, n = uint64(binary.LittleEndian.Uint32(data)), 4
		case kind == wireBytes:
			var size uint64
			if size, n = binary.Uvarint(data); n <= 0 || size > uint64(len(data)-n) {
				return errWire
			}
			v, n = data[n:n+int(size)], n+int(size)
		default:
			return errWire
		}
		if n <= 0 {
			return errWire
		}
		data = data[n:]
		if err := f(tag>>3, v, number); err != nil {
			return err
		}
	}
	return nil
}

var errWire = errors.New("not a SentencePiece model: its fields are not those of a protobuf message, or end in the middle")

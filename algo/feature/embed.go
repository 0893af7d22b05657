package feature

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
)

// EmbedOptions configure how texts become vectors.
type EmbedOptions struct {
	// Pooling is mean or last. Empty: as in the folder's 1_Pooling/config.json (the
	// convention of sentence-transformers, which Qwen3-Embedding follows) or the GGUF file's
	// pooling_type, or else last.
	Pooling Pooling

	Layer       int    // of hidden_states; 0 and -1 = after the final norm
	MaxTokens   int    // longer texts are truncated, before the tokenizer adds its own tokens; 0 = 2048
	Instruction string // put before every text as in queries of Qwen3-Embedding
	Raw         bool   // keep the vectors as they are; otherwise they are normalised to length 1, as upstream does
	Tokens      int    // per batch; 0 = as many as suit the device
	Log         *slog.Logger
}

const defaultMaxTokens = 2048

// Embedder computes sentence vectors of texts with a model folder: any decoder that this
// program trains.
type Embedder struct {
	model     *decoder.Model
	tokenizer *tokenizer.Tokenizer
	device    driver.Device
	options   EmbedOptions
}

// OpenEmbedder loads the folder's model and tokenizer.
func OpenEmbedder(dev driver.Device, dir string, o EmbedOptions) (*Embedder, error) {
	if o.Pooling == "" {
		var err error
		if o.Pooling, err = declaredPooling(dir); err != nil {
			return nil, err
		}
	}
	if o.Layer == 0 {
		o.Layer = -1
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = defaultMaxTokens
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		return nil, err
	}
	m, err := decoder.Load(dev, dir, decoder.Options{Headless: true})
	if err != nil {
		return nil, err
	}
	return &Embedder{model: m, tokenizer: tok, device: dev, options: o}, nil
}

// Close frees the model's memory.
func (e *Embedder) Close() { e.model.Close() }

// Embed returns the vector of every text.
func (e *Embedder) Embed(ctx context.Context, texts []string) (neighbor.Vectors, error) {
	rows, err := e.rows(ctx, texts)
	if err != nil {
		return neighbor.Vectors{}, err
	}
	return e.vectors(ctx, rows, nil)
}

// Write writes the vector of every text to an .npy file. If ctx ends early, the finished
// vectors are kept in a folder beside the file, and the same call continues from there.
func (e *Embedder) Write(ctx context.Context, texts []string, path string) (err error) {
	rows, err := e.rows(ctx, texts)
	if err != nil {
		return err
	}
	key, err := e.key(rows)
	if err != nil {
		return err
	}
	dir := path + ".unfinished"
	keep, err := OpenStore(ctx, nil, dir, key, len(rows), e.model.Config().Hidden)
	if err != nil {
		return err
	}
	v, err := e.vectors(ctx, rows, keep)
	if err == nil {
		err = v.Write(path)
	}
	if err == nil {
		return errors.Join(keep.Remove(), storage.RemoveAll(dir))
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%d of %d texts are finished and kept in %s; the same command continues from there: %w", keep.progress.put, len(texts), dir, err)
	}
	return errors.Join(err, keep.Close())
}

// key identifies by content everything on which the rows of a store depend.
func (e *Embedder) key(rows []data.Example) (string, error) {
	identity, err := e.model.Identity()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s layer %d %s tokens %d device %v\n", identity, e.options.Layer, e.options.Pooling, e.pass(nil).tokens(), e.device.Kind())
	for _, r := range rows {
		fmt.Fprintln(h, r.InputIDs)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// rows tokenises the texts.
func (e *Embedder) rows(ctx context.Context, texts []string) ([]data.Example, error) {
	rows := make([]data.Example, len(texts))
	for i, text := range texts {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("tokenising: %w", err)
		}
		ids := e.encode(text)
		if len(ids) == 0 {
			return nil, fmt.Errorf("text %d is empty", i)
		}
		rows[i] = data.Example{ID: data.ID{Dataset: "texts", Row: i}, InputIDs: ids, Labels: data.Unlabelled(len(ids))}
	}
	return rows, nil
}

func (e *Embedder) pass(keep *Store) VectorPass {
	return VectorPass{
		Pass:  Pass{Device: e.device, Model: e.model, Tokens: e.options.Tokens, Log: e.options.Log},
		Layer: e.options.Layer, Pooling: e.options.Pooling, Keep: keep,
	}
}

func (e *Embedder) vectors(ctx context.Context, rows []data.Example, keep *Store) (neighbor.Vectors, error) {
	v, err := Vectors(ctx, e.pass(keep), rows)
	if err == nil && !e.options.Raw {
		v.Normalize()
	}
	return v, err
}

// encode truncates a text's own tokens, then adds the tokenizer's special tokens around
// them: the last token of an embedding model is one of these.
func (e *Embedder) encode(text string) []int32 {
	if e.options.Instruction != "" {
		text = "Instruct: " + e.options.Instruction + "\nQuery:" + text
	}
	own := e.tokenizer.Encode(text)
	full := e.tokenizer.EncodeSpecial(text)
	extra := len(full) - len(own)
	if room := max(0, e.options.MaxTokens-extra); len(own) > room {
		before := prefix(full, own)
		cut := append(append([]int32(nil), full[:before+room]...), full[before+len(own):]...)
		return cut
	}
	return full
}

// prefix is the number of tokens of full before own.
func prefix(full, own []int32) int {
	for at := 0; at+len(own) <= len(full); at++ {
		if slices.Equal(full[at:at+len(own)], own) {
			return at
		}
	}
	return 0
}

// RowText is the text that upstream's offline scripts embed for a row of an Alpaca-format
// data set.
func RowText(instruction, input, output, prediction string) string {
	return strings.Join([]string{
		"Instruction: " + instruction, "Input: " + input, "Output: " + output, "Prediction:" + prediction,
	}, "\n")
}

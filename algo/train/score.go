package train

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/train/identity"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Shard is one of several parts of the training rows: the Index-th of Count, from 1.
type Shard struct{ Index, Count int }

// rows are the contiguous rows of a shard of n rows.
func (s Shard) rows(n int) (lo, hi int) { return n * (s.Index - 1) / s.Count, n * s.Index / s.Count }

// suffix distinguishes the files of shards; a single one has none.
func (s Shard) suffix() string {
	if s.Count == 1 {
		return ""
	}
	return fmt.Sprintf("-%d-of-%d", s.Index, s.Count)
}

// Score runs the configured selector's scoring once over the training rows, or a shard of
// them, without training: LESS's original, offline use. It writes scores.npy (float64, NaN
// where a row has no score) and scores.jsonl to dir, a shard's with its number in the name,
// and a file with the conditions under which they were made. With resume_from_checkpoint the
// weights and moments are those of that checkpoint. Existing scores that were made under the
// same conditions are not computed again.
//
// If a selector's scores depend on the whole pool, it is scored as a whole for every shard.
func Score(ctx context.Context, c *config.Config, o Options, dir string, shard Shard) (err error) {
	if c.Dynamic.TrainType != config.DynamicSelect {
		return c.Errorf("train_type", "scoring needs a selector: train_type: dynamic_select, not %s", c.Dynamic.TrainType)
	}
	dev, err := openDevice(c, o)
	if err != nil {
		return err
	}
	defer CloseDevice(dev, &err)
	t, err := setUp(ctx, c, dev, dev, o.Log, alone)
	if err != nil {
		return err
	}
	defer t.Close()
	if from := c.Training.ResumeFromCheckpoint.Path; from != "" {
		if err := scoreFrom(from, t.names, t.checkpoints); err != nil {
			return fmt.Errorf("score from %s: %w", from, err)
		}
	}
	request := algo.Request{Step: t.loop.step, Update: 1, N: 1}
	if request.Key, err = t.names.Choice(request); err != nil {
		return err
	}
	if n := len(t.data.Train); shard.Count > n {
		return fmt.Errorf("there are %d training rows, and no share of %d can be without one: at most %d shares", n, shard.Count, n)
	}
	lo, hi := shard.rows(len(t.data.Train))
	share := shareFile{Key: request.Key, Shard: shard, First: lo, Rows: hi - lo}
	if share.made(dir) {
		o.Log.Info("these rows were scored before under the same conditions: nothing is computed", "shard", fmt.Sprintf("%d/%d", shard.Index, shard.Count), "dir", dir)
		return nil
	}
	scores := scorer{config: c, chosen: t.loop.curriculum.(*curriculum.Selected), name: t.names.Component.Name, lent: t.names.Lent, log: o.Log}
	score, err := scores.scores(ctx, request, shard)
	if err != nil {
		return err
	}
	o.Log.Info("scored", "rows", len(score), "shard", fmt.Sprintf("%d/%d", shard.Index, shard.Count), "dir", dir)
	return share.write(dir, score, t.data.Train[lo:hi])
}

// scoreFrom loads a checkpoint's weights and moments into the model, whose base and shape
// must be the checkpoint's; the rows may differ.
func scoreFrom(from string, n *identity.Names, k *checkpoints) error {
	s, err := readSaved(from)
	if err != nil {
		return err
	}
	me, err := n.Run()
	if err != nil {
		return err
	}
	if s.Identity != nil {
		if other := identity.Differing(s.Identity.OfModel(n.Config.Tuning.FinetuningType), me.Run); len(other) > 0 {
			return fmt.Errorf("the checkpoint is of another model: %s", strings.Join(other, "; "))
		}
	}
	k.at.step = s.Step
	return k.restore(from, s)
}

// scorer asks a selector for its scores, outside of a run.
type scorer struct {
	config *config.Config
	chosen *curriculum.Selected // the curriculum of every run with train_type: dynamic_select
	name   string               // the selector's
	lent   *algo.Run
	log    *slog.Logger
}

// scores asks the selector for the scores of a shard's rows.
func (s *scorer) scores(ctx context.Context, r algo.Request, shard Shard) (_ []float64, err error) {
	lo, hi := shard.rows(len(s.lent.Train))
	_, byRow := s.chosen.Selector().(algo.RowScorer)
	switch {
	case shard.Count == 1:
	case byRow:
		s.lent.Train = s.lent.Train[lo:hi]
		r.Key, r.Whole = shardKey(r.Key, shard), r.Key
	default:
		s.log.Warn("this selector's scores depend on the whole pool: all rows are scored for every shard", "selector", s.name)
	}
	lock, err := s.chosen.Lock(ctx, r)
	if err != nil {
		return nil, err
	}
	if lock != nil {
		defer func() { err = errors.Join(err, lock.Release()) }()
	}
	sel, err := s.chosen.Selector().Select(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("scoring: %w", err)
	}
	if len(sel.Score) != len(s.lent.Train) {
		return nil, s.config.Errorf("component_name", "selector %s does not score rows: there is nothing to write", s.name)
	}
	if shard.Count > 1 && !byRow {
		return sel.Score[lo:hi], nil
	}
	return sel.Score, nil
}

// shardKey separates the feature stores of shards.
func shardKey(key string, s Shard) string {
	return fmt.Sprintf("%04x%04x%s", s.Index, s.Count, key[8:])
}

// shareFile is scores.json, or that of a shard: the conditions under which scores were made.
type shareFile struct {
	Key   string `json:"key"` // of everything that they depend on, except the shard
	Shard Shard  `json:"shard"`
	First int    `json:"first"` // index of the first row in the pool
	Rows  int    `json:"rows"`
	NPY   string `json:"npy"`             // SHA-256 of the .npy
	Lines string `json:"jsonl,omitempty"` // and of the .jsonl; "" in files of earlier programs
}

func (f shareFile) path(dir, ext string) string {
	return filepath.Join(dir, "scores"+f.Shard.suffix()+ext)
}

// read reads the file of the same name in dir.
func (f shareFile) read(dir string) (there shareFile, err error) {
	raw, err := storage.ReadFile(f.path(dir, ".json"))
	if err != nil {
		return there, err
	}
	if err := json.Unmarshal(raw, &there); err != nil {
		return there, fmt.Errorf("%s: %w", f.path(dir, ".json"), err)
	}
	for _, file := range []struct{ ext, sum string }{{".npy", there.NPY}, {".jsonl", there.Lines}} {
		path := f.path(dir, file.ext)
		sum, _, err := storage.SHA256(path)
		switch {
		case err != nil:
			return there, err
		case sum != file.sum && file.sum != "":
			return there, fmt.Errorf("%s has changed since it was written: remove it and score it again", path)
		}
	}
	return there, nil
}

// made reports whether the scores exist and are complete.
func (f shareFile) made(dir string) bool {
	there, err := f.read(dir)
	f.NPY, f.Lines = there.NPY, there.Lines
	return err == nil && there == f
}

// write writes scores to dir; the file that makes them valid is last.
func (f shareFile) write(dir string, score []float64, rows []data.Example) error {
	if err := storage.MkdirAll(dir); err != nil {
		return fmt.Errorf("scores: %w", err)
	}
	array := npy.Encode(score, len(score))
	sum := sha256.Sum256(array)
	f.NPY = hex.EncodeToString(sum[:])
	if err := storage.WriteFile(f.path(dir, ".npy"), array); err != nil {
		return err
	}
	lines := sha256.New()
	if err := storage.Write(f.path(dir, ".jsonl"), -1, func(w io.Writer) error { return f.writeLines(io.MultiWriter(w, lines), score, rows) }); err != nil {
		return err
	}
	f.Lines = hex.EncodeToString(lines.Sum(nil))
	head, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return storage.WriteFile(f.path(dir, ".json"), head)
}

// writeLines writes a line for each row.
func (f shareFile) writeLines(to io.Writer, score []float64, rows []data.Example) error {
	w := bufio.NewWriter(to)
	for i, s := range score {
		value := any(s)
		if math.IsNaN(s) || math.IsInf(s, 0) {
			value = nil
		}
		if _, err := w.WriteString(pyjson.Encode(pyjson.Object{
			{Key: "index", Value: f.First + i}, {Key: "dataset", Value: rows[i].Dataset}, {Key: "row", Value: rows[i].Row}, {Key: "score", Value: value},
		}, 0) + "\n"); err != nil {
			return err
		}
	}
	return w.Flush()
}

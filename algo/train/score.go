package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/npy"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
)

// Shard is one of several shares of the training rows: the Index-th of Count,
// from 1.
type Shard struct{ Index, Count int }

// rows are the contiguous rows of a shard of n.
func (s Shard) rows(n int) (lo, hi int) { return n * (s.Index - 1) / s.Count, n * s.Index / s.Count }

// suffix tells a shard's files apart; a whole has none.
func (s Shard) suffix() string {
	if s.Count == 1 {
		return ""
	}
	return fmt.Sprintf("-%d-of-%d", s.Index, s.Count)
}

// Score runs the configured selector's scoring once over the training rows, or a
// shard of them, without training: LESS's original, offline use. It writes
// scores.npy (float64, NaN where a row has no score) and scores.jsonl to dir, a
// shard's with its number in the name. With resume_from_checkpoint the weights and
// moments are those of that checkpoint.
func Score(ctx context.Context, c *config.Config, o Options, dir string, shard Shard) (err error) {
	if c.Dynamic.TrainType != config.DynamicSelect {
		return c.Errorf("train_type", "scoring needs a selector: train_type: dynamic_select, not %s", c.Dynamic.TrainType)
	}
	dev, err := openDevice(c, o)
	if err != nil {
		return err
	}
	defer CloseDevice(dev, &err)
	t, err := setup(ctx, c, dev, o.Log, shard)
	if err != nil {
		return err
	}
	defer t.Close()
	if from := c.Training.ResumeFromCheckpoint.Path; from != "" {
		s, err := readSaved(from)
		if err != nil {
			return err
		}
		if err := t.restoreWeights(from, s); err != nil {
			return fmt.Errorf("score from %s: %w", from, err)
		}
		t.step = s.Step
	}
	request := algo.Request{Step: t.step, Update: 1, N: 1}
	if request.Key, err = t.selectionKey(request); err != nil {
		return err
	}
	request.Key = shardKey(request.Key, shard)
	sel, err := t.selector.Select(ctx, request)
	if err != nil {
		return fmt.Errorf("scoring: %w", err)
	}
	if len(sel.Score) != len(t.train) {
		return c.Errorf("component_name", "selector %s gives rows no score: it has nothing to write", t.component.Name)
	}
	o.Log.Info("scored", "rows", len(sel.Score), "shard", fmt.Sprintf("%d/%d", shard.Index, shard.Count), "dir", dir)
	lo, _ := shard.rows(t.Plan.Rows)
	return writeScores(dir, shard.suffix(), lo, sel.Score, t.train)
}

// shardKey keeps the feature stores of shards apart.
func shardKey(key string, s Shard) string {
	if s.Count == 1 {
		return key
	}
	return fmt.Sprintf("%04x%04x%s", s.Index, s.Count, key[8:])
}

func writeScores(dir, suffix string, first int, score []float64, rows []data.Example) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("scores: %w", err)
	}
	var b strings.Builder
	for i, s := range score {
		value := any(s)
		if math.IsNaN(s) || math.IsInf(s, 0) {
			value = nil
		}
		b.WriteString(pyjson.Encode(pyjson.Object{
			{Key: "index", Value: first + i}, {Key: "dataset", Value: rows[i].Dataset}, {Key: "row", Value: rows[i].Row}, {Key: "score", Value: value},
		}, 0) + "\n")
	}
	return errors.Join(
		storage.WriteFile(filepath.Join(dir, "scores"+suffix+".npy"), npy.Encode(score, len(score))),
		storage.WriteFile(filepath.Join(dir, "scores"+suffix+".jsonl"), []byte(b.String())))
}

// MergeScores puts the shards in dir together as scores.npy and scores.jsonl. A
// shard that is missing is an error that names it.
func MergeScores(dir string, count int) error {
	var all []float64
	var lines strings.Builder
	for i := 1; i <= count; i++ {
		suffix := Shard{i, count}.suffix()
		a, err := npy.Read(filepath.Join(dir, "scores"+suffix+".npy"))
		if err != nil {
			return fmt.Errorf("shard %d of %d: %w", i, count, err)
		}
		scores := a.Float64s()
		raw, err := os.ReadFile(filepath.Join(dir, "scores"+suffix+".jsonl"))
		if err != nil {
			return fmt.Errorf("shard %d of %d: %w", i, count, err)
		}
		var first struct{ Index int }
		if line, _, _ := strings.Cut(string(raw), "\n"); len(scores) > 0 {
			if err := json.Unmarshal([]byte(line), &first); err != nil || first.Index != len(all) || strings.Count(string(raw), "\n") != len(scores) {
				return fmt.Errorf("shard %d of %d in %s does not follow the ones before it: they are of different runs", i, count, dir)
			}
		}
		all = append(all, scores...)
		lines.Write(raw)
	}
	return errors.Join(
		storage.WriteFile(filepath.Join(dir, "scores.npy"), npy.Encode(all, len(all))),
		storage.WriteFile(filepath.Join(dir, "scores.jsonl"), []byte(lines.String())))
}

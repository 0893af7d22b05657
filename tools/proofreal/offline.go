package main

import (
	"context"
	"log/slog"
	"path/filepath"
	"time"

	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/algo/tsds"
	"dataflex.dev/dataflex/driver/cpu"
)

// offline makes the file that a contender chooses by from sentence vectors of the pool and of
// the evaluation rows, and returns the parameter that names it.
type offline func(ctx context.Context, dev *cpu.Device, log *slog.Logger, pool, eval neighbor.Vectors, path string) (keys, error)

func nearest(ctx context.Context, dev *cpu.Device, log *slog.Logger, pool, eval neighbor.Vectors, path string) (keys, error) {
	_, err := neighbor.Near(ctx, dev, log, pool, eval, neighbor.UpstreamNeighbours, path)
	return keys{"indices_path": path}, err
}

func transported(ctx context.Context, dev *cpu.Device, log *slog.Logger, pool, eval neighbor.Vectors, path string) (keys, error) {
	_, err := tsds.Write(ctx, dev, log, pool, eval, tsds.Official(), path)
	return keys{"probs_path": path}, err
}

// prepare embeds the rows with the model that is trained, as `dataflex-cli embed` does, and
// returns the contender's parameters and the seconds that it took.
func (l *lab) prepare(ctx context.Context, p pool, write offline) (keys, float64, error) {
	began := time.Now()
	dev := cpu.New(0)
	defer dev.Close()
	e, err := feature.OpenEmbedder(dev, l.options.model, feature.EmbedOptions{Log: l.log})
	if err != nil {
		return nil, 0, err
	}
	defer e.Close()
	var sets [2]neighbor.Vectors
	for i, rows := range [][]row{p.rows, p.eval} {
		texts := []string{}
		for _, r := range rows {
			texts = append(texts, feature.RowText(r.Instruction, r.Input, r.Output, ""))
		}
		if sets[i], err = e.Embed(ctx, texts); err != nil {
			return nil, 0, err
		}
	}
	params, err := write(ctx, dev, l.log, sets[0], sets[1], filepath.Join(l.dir, "offline.npy"))
	return params, time.Since(began).Seconds(), err
}

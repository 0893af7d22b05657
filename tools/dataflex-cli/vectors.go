package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/feature"
	"dataflex.dev/dataflex/algo/neighbor"
	"dataflex.dev/dataflex/algo/tsds"
	"dataflex.dev/dataflex/data/hub"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/driver/cpu"
	"dataflex.dev/dataflex/tools/command"
)

func embedCommand() *cobra.Command {
	var o feature.EmbedOptions
	var pooling string
	c := &cobra.Command{
		Use:   "embed MODEL ROWS.json OUT.npy",
		Short: "Turn the rows of a JSON or JSONL file into sentence vectors with a local model",
		Long: "A row's text is its `text`, or its instruction, input and output joined as by DataFlex's offline selectors. The vectors,\n" +
			"float32 [rows, width] and of length 1, are what `near` and `tsds` read. After a Ctrl-C the finished part is in OUT.npy.unfinished,\n" +
			"and the same command continues from there.",
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			texts, err := rowTexts(args[1])
			if err != nil {
				return err
			}
			dev := cpu.New(0)
			defer dev.Close()
			o.Pooling, o.Log = feature.Pooling(pooling), command.Logger(os.Stderr)
			dir, err := hub.Model(args[0], "", "")
			if err != nil {
				return err
			}
			e, err := feature.OpenEmbedder(dev, dir, o)
			if err != nil {
				return err
			}
			defer e.Close()
			if err := storage.MkdirAll(filepath.Dir(args[2])); err != nil {
				return err
			}
			return e.Write(cmd.Context(), texts, args[2])
		},
	}
	c.Flags().StringVar(&pooling, "pooling", "", "mean or last; default: the folder's setting, else last")
	c.Flags().IntVar(&o.MaxTokens, "max-tokens", 0, "longer texts are truncated (default 2048)")
	c.Flags().StringVar(&o.Instruction, "instruction", "", "put before every text, as for Qwen3-Embedding's queries")
	return c
}

func nearCommand() *cobra.Command {
	var k int
	c := &cobra.Command{
		Use:   "near CANDIDATES.npy QUERIES.npy OUT.npy",
		Short: "Find each query's nearest candidates: the near selector's indices_path",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			dev := cpu.New(0)
			defer dev.Close()
			candidates, queries, err := readPair(args)
			if err != nil {
				return err
			}
			_, err = neighbor.Near(cmd.Context(), dev, command.Logger(os.Stderr), candidates, queries, k, args[2])
			return err
		},
	}
	c.Flags().IntVar(&k, "neighbours", neighbor.UpstreamNeighbours, "candidates per query")
	return c
}

func tsdsCommand() *cobra.Command {
	o := tsds.Official()
	c := &cobra.Command{
		Use:   "tsds CANDIDATES.npy QUERIES.npy OUT.npy",
		Short: "Compute each candidate's probability: the tsds selector's probs_path",
		Args:  cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			dev := cpu.New(0)
			defer dev.Close()
			candidates, queries, err := readPair(args)
			if err != nil {
				return err
			}
			_, err = tsds.Write(cmd.Context(), dev, command.Logger(os.Stderr), candidates, queries, o, args[2])
			return err
		},
	}
	c.Flags().IntVar(&o.MaxK, "max-k", o.MaxK, "candidates considered per query")
	c.Flags().IntVar(&o.KDEK, "kde-k", o.KDEK, "neighbours considered per candidate")
	c.Flags().Float64Var(&o.Sigma, "sigma", o.Sigma, "radius of the density's kernel; 0 = no near-duplicates")
	c.Flags().Float64Var(&o.Alpha, "alpha", o.Alpha, "between 0, diversity alone, and 1, distance alone")
	c.Flags().Float64Var(&o.C, "c", o.C, "on the scale of the vectors' lengths")
	return c
}

// readPair reads the two files of vectors and creates the folder of the third.
func readPair(args []string) (candidates, queries neighbor.Vectors, err error) {
	if err := storage.MkdirAll(filepath.Dir(args[2])); err != nil {
		return candidates, queries, err
	}
	if candidates, err = neighbor.Read(args[0]); err != nil {
		return candidates, queries, err
	}
	queries, err = neighbor.Read(args[1])
	return candidates, queries, err
}

// rowTexts reads the rows of a JSON array or of JSON lines as texts.
func rowTexts(path string) ([]string, error) {
	raw, err := storage.ReadInput(path, math.MaxInt64-1)
	if err != nil {
		return nil, err
	}
	if err := storage.NotUTF8(path, raw); err != nil {
		return nil, err
	}
	type row struct{ Text, Instruction, Input, Output, Prediction string }
	var rows []row
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '[' {
		if err := json.Unmarshal(raw, &rows); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	} else {
		for d := json.NewDecoder(bytes.NewReader(raw)); d.More(); {
			var r row
			if err := d.Decode(&r); err != nil {
				return nil, fmt.Errorf("%s, row %d: %w", path, len(rows), err)
			}
			rows = append(rows, r)
		}
	}
	texts := make([]string, len(rows))
	anything := false
	for i, r := range rows {
		anything = anything || r != row{}
		if texts[i] = r.Text; r.Text == "" {
			texts[i] = feature.RowText(r.Instruction, r.Input, r.Output, r.Prediction)
		}
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s has no rows", path)
	}
	if !anything {
		return nil, fmt.Errorf("%s: every row is empty in text, instruction, input, output or prediction: every vector would be the same; rename the column that holds the text", path)
	}
	return texts, nil
}

package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
)

// row is an instruction with its kind, by which the choice is evaluated.
type row struct {
	Instruction string `json:"instruction"`
	Input       string `json:"input"`
	Output      string `json:"output"`
	Kind        string `json:"kind"`
}

func (r row) bytes() int { return len(r.Instruction) + len(r.Input) + len(r.Output) }

// text is a text of a domain.
type text struct {
	Text string `json:"text"`
}

// longest is the maximum length in bytes of a row's answer and of a text: longer ones would be
// truncated by cutoff_len.
const longest = 500

// pool has rows of several kinds, of which the first is the target: a pool to choose from, an
// evaluation set of the target, and held-out rows of both.
type pool struct {
	kinds                    []string
	rows, eval, target, rest []row
}

// readPool takes perKind rows of every kind, and held rows of each for evaluation and for the
// held-out set; the seed determines which.
func readPool(dir string, perKind, held, seed int) (pool, error) {
	byKind, err := instructions(dir)
	if err != nil {
		return pool{}, err
	}
	r := rand.New(rand.NewPCG(uint64(seed), 7))
	p := pool{kinds: slices.Sorted(maps.Keys(byKind))}
	target := "zh"
	if _, ok := byKind[target]; !ok {
		target = "kitchen"
	}
	for _, kind := range p.kinds {
		rows := byKind[kind]
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		out := min(held, len(rows)/4)
		if kind == target {
			p.eval, p.target = rows[:out], rows[out:2*out]
		} else {
			p.rest = append(p.rest, rows[out:out+max(1, out/3)]...)
		}
		rows = rows[2*out:]
		p.rows = append(p.rows, rows[:min(perKind, len(rows))]...)
	}
	r.Shuffle(len(p.rows), func(i, j int) { p.rows[i], p.rows[j] = p.rows[j], p.rows[i] })
	return p, nil
}

// instructions are the available rows, by kind: English, Chinese, the model's identity, tool
// calls, multiple choice; the project's own where the folder is missing.
func instructions(dir string) (map[string][]row, error) {
	out := map[string][]row{}
	for kind, file := range map[string]string{"en": "alpaca_en_demo", "zh": "alpaca_zh_demo", "identity": "identity"} {
		raw, err := unzip(filepath.Join(dir, "finetune", file+".json.gz"))
		if errors.Is(err, fs.ErrNotExist) {
			return ownInstructions()
		}
		if err != nil {
			return nil, err
		}
		var rows []row
		if err := json.Unmarshal(raw, &rows); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, r := range rows {
			if r.Kind = kind; len(r.Output) <= longest && len(r.Instruction)+len(r.Input) <= longest {
				out[kind] = append(out[kind], r)
			}
		}
	}
	return out, choices(dir, out)
}

// choices adds MMLU's dev questions as rows.
func choices(dir string, out map[string][]row) error {
	files, _ := filepath.Glob(filepath.Join(dir, "mmlu", "dev", "*.csv"))
	for _, file := range files {
		raw, err := storage.ReadFile(file)
		if err != nil {
			return err
		}
		for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
			parts := strings.Split(s.Text(), ",")
			n := len(parts)
			if n < 6 || strings.Contains(s.Text(), `"`) || len(s.Text()) > longest {
				continue
			}
			question := strings.Join(parts[:n-5], ",")
			out["mmlu"] = append(out["mmlu"], row{
				Instruction: fmt.Sprintf("%s\nA. %s\nB. %s\nC. %s\nD. %s\nAnswer:", question, parts[n-5], parts[n-4], parts[n-3], parts[n-2]), Output: parts[n-1], Kind: "mmlu",
			})
		}
	}
	return nil
}

// ownInstructions are the project's own small sets.
func ownInstructions() (map[string][]row, error) {
	out := map[string][]row{}
	for _, set := range []string{"everyday", "facts", "words", "sums"} {
		raw, err := data.Samples.ReadFile(set + ".jsonl")
		if err != nil {
			return nil, err
		}
		for s := bufio.NewScanner(bytes.NewReader(raw)); s.Scan(); {
			var r row
			if err := json.Unmarshal(s.Bytes(), &r); err != nil {
				return nil, fmt.Errorf("%s: %w", set, err)
			}
			out[r.Kind] = append(out[r.Kind], r)
		}
	}
	return out, nil
}

// domains are texts by domain.
func domains(dir string, each int) (map[string][]text, error) {
	files, _ := filepath.Glob(filepath.Join(dir, "mixture", "*.jsonl.gz"))
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no texts of several domains (mixture/DOMAIN.jsonl.gz, lines of {\"text\": ...}): take some of RedPajama's or SlimPajama's, and name the folder with --data", dir)
	}
	out := map[string][]text{}
	for _, file := range files {
		raw, err := unzip(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl.gz")
		for d := json.NewDecoder(bytes.NewReader(raw)); len(out[name]) < each; {
			var t text
			if err := d.Decode(&t); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			t.Text = strings.ToValidUTF8(t.Text[:min(len(t.Text), 2*longest)], "")
			out[name] = append(out[name], t)
		}
	}
	return out, nil
}

// unzip reads a gzipped file of at most 64 MiB.
func unzip(path string) ([]byte, error) {
	raw, err := storage.ReadFile(path)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	out, err := io.ReadAll(io.LimitReader(z, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

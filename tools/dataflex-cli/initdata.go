package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/storage"
)

// dataFile is a file of rows with its entry in dataset_info.json.
type dataFile struct {
	path   string // as given
	name   string // of the entry
	rows   int
	text   bool // plain text, for pre-training
	embeds bool // `embed` supports its columns
	entry  map[string]any
}

// describe reads a file's first row and finds the columns with prompt and answer.
func describe(path string) (dataFile, error) {
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	f := dataFile{path: path, name: regexp.MustCompile(`[^\w-]+`).ReplaceAllString(name, "_"), entry: map[string]any{"file_name": path}}
	row, rows, err := firstRow(path)
	if err != nil {
		return f, err
	}
	f.rows = rows
	return f, f.columns(row)
}

// columns fills in the entry. The values in row only matter for lists of messages.
func (f *dataFile) columns(row map[string]any) error {
	has := func(key string) bool { _, ok := row[key]; return ok }
	first := func(keys ...string) string {
		if i := slices.IndexFunc(keys, has); i >= 0 {
			return keys[i]
		}
		return ""
	}
	if list := first("messages", "conversations", "conversation"); list != "" {
		f.entry["formatting"] = "sharegpt"
		f.entry["columns"] = f.optional(map[string]string{"messages": list}, has, "system", "tools")
		if hasKey(row[list], "role") {
			f.entry["tags"] = map[string]string{
				"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant", "system_tag": "system",
				"observation_tag": "tool", "function_tag": "function_call",
			}
		}
		return nil
	}
	prompt := first("instruction", "prompt", "question", "query")
	answer := first("output", "response", "completion", "answer", "chosen")
	switch {
	case prompt != "" && answer != "":
		f.embeds = prompt == "instruction" && answer == "output"
		if f.embeds && has("input") && !has("system") && !has("history") {
			return nil // LLaMA-Factory's defaults
		}
		columns := map[string]string{"prompt": prompt, "response": answer}
		if has("input") && prompt == "instruction" {
			columns["query"] = "input"
		}
		f.entry["columns"] = f.optional(columns, has, "system", "history")
		return nil
	case has("text"):
		f.text, f.embeds = true, true
		f.entry["columns"] = map[string]string{"prompt": "text"}
		return nil
	}
	return fmt.Errorf("%s: its rows have %s; rows with instruction and output, prompt and response, messages, conversations or text are recognised: "+
		"rename a column, or write the entry of dataset_info.json yourself and name it with dataset", f.path, strings.Join(slices.Sorted(maps.Keys(row)), ", "))
}

func (f *dataFile) optional(columns map[string]string, has func(string) bool, keys ...string) map[string]string {
	for _, k := range keys {
		if has(k) {
			columns[k] = k
		}
	}
	return columns
}

// hasKey reports whether the first of a list of messages has a key.
func hasKey(messages any, key string) bool {
	list, _ := messages.([]any)
	if len(list) == 0 {
		return false
	}
	m, _ := list[0].(map[string]any)
	_, ok := m[key]
	return ok
}

// firstRow reads a file's first row and counts its rows.
func firstRow(path string) (row map[string]any, rows int, err error) {
	if err := refuseEncoding(path); err != nil {
		return nil, 0, err
	}
	switch kind := strings.TrimPrefix(filepath.Ext(path), "."); kind {
	case "json", "jsonl":
		return firstJSON(path)
	case "csv":
		return firstCSV(path)
	case "parquet":
		return firstParquet(path)
	default:
		return nil, 0, fmt.Errorf("%s: init looks into .jsonl, .json, .csv and .parquet files; write the entry of dataset_info.json yourself and name it with dataset", path)
	}
}

// refuseEncoding refuses a text that is in UTF-16 or UTF-32.
func refuseEncoding(path string) error {
	f, err := storage.OpenInput(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: %w", path, err)
	}
	return storage.NotUTF8(path, head[:n])
}

func firstJSON(path string) (row map[string]any, rows int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	r := bufio.NewReader(f)
	d := json.NewDecoder(r)
	if head, _ := r.Peek(64); bytes.HasPrefix(bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))), []byte("[")) {
		if _, err := d.Token(); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", path, err)
		}
	}
	for d.More() {
		var x any = new(json.RawMessage)
		if rows == 0 {
			x = &row
		}
		if err := d.Decode(x); err != nil {
			return nil, 0, fmt.Errorf("%s, row %d: %w", path, rows, err)
		}
		rows++
	}
	if rows == 0 {
		return nil, 0, fmt.Errorf("%s has no rows", path)
	}
	return row, rows, nil
}

func firstCSV(path string) (row map[string]any, rows int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.ReuseRecord = true
	head, err := r.Read()
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	row = map[string]any{}
	for _, name := range head {
		row[name] = nil
	}
	for {
		if _, err := r.Read(); err != nil {
			return row, rows, nil
		}
		rows++
	}
}

// firstParquet returns the columns, and for lists the columns of their items.
func firstParquet(path string) (row map[string]any, rows int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	p, err := parquet.OpenFile(f, stat.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	row = map[string]any{}
	for _, c := range p.Root().Columns() {
		item := map[string]any{}
		leaves(c, item)
		row[c.Name()] = []any{item}
	}
	return row, int(p.NumRows()), nil
}

func leaves(c *parquet.Column, into map[string]any) {
	for _, child := range c.Columns() {
		into[child.Name()] = nil
		leaves(child, into)
	}
}

// writeInfo adds the entries that dataset_info.json does not have yet, and leaves the rest
// unchanged.
func writeInfo(cmd *cobra.Command, files []dataFile) (err error) {
	const name = dataset.InfoFile
	lock, err := lockInfo(cmd.Context(), ".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte("{\n}\n")
	} else if err != nil {
		return err
	}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var have map[string]json.RawMessage
	if err := json.Unmarshal(text, &have); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var entries []string
	for _, f := range files {
		if _, ok := have[f.name]; ok {
			continue
		}
		have[f.name] = nil
		entry, err := json.MarshalIndent(f.entry, "  ", "  ")
		if err != nil {
			return err
		}
		entries = append(entries, fmt.Sprintf("\n  %q: %s", f.name, entry))
	}
	if len(entries) == 0 {
		return nil
	}
	open := bytes.IndexByte(text, '{') + 1
	added := strings.Join(entries, ",")
	if len(have) > len(entries) {
		added += ","
	}
	if err := storage.WriteFile(name, slices.Concat(text[:open], []byte(added), text[open:])); err != nil {
		return err
	}
	say(cmd, "wrote %s: %d data sets\n", name, len(entries))
	return nil
}

package main

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/train"
)

// readsMore are the cases that LLaMA-Factory fails on and that are read here: the file's kind
// of damage has one meaning, or the messages have.
var readsMore = []string{
	"json_bom", "jsonl_nan_used", "json_surr_half_low", "jsonl_surr_half", "jsonl_ctrl", "json_bigint", "json_extra_null", // JSON
	"sg_null_value", "sg_null_conv", "sg_tools_list", "oa_toolcalls_str", "oa_toolcalls_two", "oa_toolcalls_dict", "oa_toolcalls_content", "oa_toolcalls_null_field", "oa_tool_last", "oa_developer", // messages
}

// TestOddFiles reads small files of unusual habits as LLaMA-Factory does, ids and labels:
// tools/golden/odd_files.py recorded them.
func TestOddFiles(t *testing.T) {
	raw, err := os.ReadFile("testdata/odd_files.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, File  string
		Bytes       []byte
		Entry, Conf map[string]any
		Rows        [][2][]int32 // ids, labels; nil: LLaMA-Factory fails
	}
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 150 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			t.Setenv("DATAFLEX_CACHE", filepath.Join(dir, "cache"))
			c.Entry["file_name"] = c.File
			writeJSON(t, filepath.Join(dir, "dataset_info.json"), map[string]any{"d": c.Entry})
			if err := os.WriteFile(filepath.Join(dir, c.File), c.Bytes, 0o644); err != nil {
				t.Fatal(err)
			}
			model, err := filepath.Abs(demoModel)
			if err != nil {
				t.Fatal(err)
			}
			keys := map[string]any{
				"model_name_or_path": model, "dataset": "d", "dataset_dir": dir, "cutoff_len": 512,
				"do_train": true, "finetuning_type": "lora", "output_dir": filepath.Join(dir, "out"),
			}
			for key, value := range c.Conf {
				keys[key] = value
			}
			writeJSON(t, filepath.Join(dir, "c.yaml"), keys) // JSON is YAML

			got, err := shownRows(t, filepath.Join(dir, "c.yaml"))
			more := slices.Contains(readsMore, c.Name)
			switch {
			case c.Rows == nil && (err == nil) != more:
				t.Errorf("LLaMA-Factory fails, here: %v, %v", got, err)
			case c.Rows == nil:
			case err != nil:
				t.Error(err)
			case len(got) != len(c.Rows):
				t.Errorf("%d rows, LLaMA-Factory has %d", len(got), len(c.Rows))
			default:
				for i, want := range c.Rows {
					if !slices.Equal(got[i][0], want[0]) || !slices.Equal(got[i][1], want[1]) {
						t.Errorf("row %d: %v, want %v", i, got[i], want)
					}
				}
			}
		})
	}
}

func shownRows(t *testing.T, file string) (rows [][2][]int32, err error) {
	t.Helper()
	c, err := config.Load(file, nil)
	if err != nil {
		return nil, err
	}
	d, err := train.LoadData(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	for _, ex := range d.Train {
		rows = append(rows, [2][]int32{ex.InputIDs, ex.Labels})
	}
	return rows, nil
}

func writeJSON(t *testing.T, path string, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

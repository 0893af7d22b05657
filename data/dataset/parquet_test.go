package dataset

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// parquetFolder is a dataset_dir with testdata's files, which pyarrow 26 wrote
// (testdata/parquet.py).
func parquetFolder(t *testing.T, info string) string {
	t.Helper()
	dir := folder(t, map[string]string{InfoFile: info})
	for _, name := range []string{"sharegpt.parquet", "alpaca.parquet"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestParquet(t *testing.T) {
	dir := parquetFolder(t, `{
		"s":{"file_name":"sharegpt.parquet","formatting":"sharegpt","columns":{"messages":"conversations","system":"system"}},
		"a":{"file_name":"alpaca.parquet","columns":{"prompt":"instruction","query":"input","response":"output","history":"history"}},
		"score":{"file_name":"alpaca.parquet","columns":{"prompt":"score"}},
		"blob":{"file_name":"sharegpt.parquet","columns":{"prompt":"blob"}},
		"lacks":{"file_name":"alpaca.parquet","columns":{"prompt":"text"}}}`)
	for name, want := range map[string][]string{
		"s": {
			"u:\"Hi — 你好\" => a:\"Hello\\n\\\"you\\\"\"",
			"! invalid message count: 0 messages; they must come in pairs of question and answer",
			"! null value: column 'conversations' is null",
			"! null value: message 1's 'value' is null",
			"u:\"xxxxxxxxxxxxxxxxxxxx\" => a:\"y\"",
		},
		"a": {
			"u:\"add 0\" => a:\"0\"",
			"u:\"q1\" a:\"a1\" u:\"add 1\" => a:\"2\"",
			"u:\"q1\" a:\"a1\" u:\"q2\" a:\"a2\" u:\"add 2\" => a:\"4\"",
			"u:\"add 3\" => a:\"6\"",
			"u:\"q1\" a:\"a1\" u:\"add 4\" => a:\"8\"",
			"u:\"q1\" a:\"a1\" u:\"q2\" a:\"a2\" u:\"add 5\" => a:\"10\"",
			"u:\"add 6\" => a:\"12\"",
		},
	} {
		set := load(t, dir, name)
		for i, s := range set.Samples {
			if got := strings.TrimSpace(show(s)); i >= len(want) || got != want[i] || s.Row != i {
				t.Errorf("%s row %d: %s", name, s.Row, got)
			}
		}
		if len(set.Samples) != len(want) {
			t.Errorf("%s: %d rows", name, len(set.Samples))
		}
	}
	for name, want := range map[string][]string{
		"score": {"alpaca.parquet", "row 0", "column 'score' is a number"},
		"blob":  {"sharegpt.parquet", "row 0", "column 'blob': it holds bytes that are not UTF-8 text"},
		"lacks": {"column 'text' is missing", "'instruction', 'input', 'output', 'history', 'score'"},
	} {
		_, err := Load(context.Background(), Options{Dir: dir, Names: []string{name}})
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v lacks %q", name, err, w)
			}
		}
	}
}

// A damaged file is an error that names it, never a crash or silence.
func TestDamagedParquet(t *testing.T) {
	whole, err := os.ReadFile("testdata/sharegpt.parquet")
	if err != nil {
		t.Fatal(err)
	}
	info := `{"s":{"file_name":"s.parquet","formatting":"sharegpt"}}`
	for at := 0; at < len(whole); at += 37 {
		for _, bad := range [][]byte{whole[:at], flipped(whole, at)} {
			dir := folder(t, map[string]string{InfoFile: info, "s.parquet": string(bad)})
			_, err := Load(context.Background(), Options{Dir: dir, Names: []string{"s"}})
			if err != nil && !strings.Contains(err.Error(), "s.parquet") || len(bad) < len(whole) && err == nil {
				t.Errorf("byte %d of %d: %v", at, len(bad), err)
			}
		}
	}
}

func flipped(b []byte, at int) []byte {
	out := append([]byte(nil), b...)
	out[at] ^= 0x55
	return out
}

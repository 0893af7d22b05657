package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"dataflex.dev/dataflex/data"
)

// folder writes files into a new dataset_dir.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func load(t testing.TB, dir string, names ...string) *Set {
	t.Helper()
	set, err := Load(context.Background(), Options{Dir: dir, Names: names, Seed: 42, Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// show writes a sample on one line: role initials before their content.
func show(s data.Sample) string {
	var b strings.Builder
	if s.Broken != "" {
		return "! " + s.Broken
	}
	for i, part := range [][]data.Message{s.Prompt, s.Response} {
		if i == 1 {
			b.WriteString(" =>")
		}
		for _, m := range part {
			fmt.Fprintf(&b, " %c:%q", m.Role[0], m.Content)
		}
	}
	if s.System != "" {
		fmt.Fprintf(&b, " sys:%q", s.System)
	}
	if s.Tools != "" {
		fmt.Fprintf(&b, " tools:%q", s.Tools)
	}
	return strings.TrimSpace(b.String())
}

func show1(t *testing.T, entry, row string) string {
	t.Helper()
	dir := folder(t, map[string]string{InfoFile: `{"x":` + entry + `}`, "x.jsonl": row})
	return show(load(t, dir, "x").Samples[0])
}

// Each case follows spec/llamafactory.md 3.4 and upstream's converter.py.
func TestConverters(t *testing.T) {
	const (
		plain    = `{"file_name":"x.jsonl"}`
		all      = `{"file_name":"x.jsonl","columns":{"prompt":"q","query":"i","response":"a","history":"h","system":"s","tools":"t"}}`
		sharegpt = `{"file_name":"x.jsonl","formatting":"sharegpt","columns":{"messages":"conversations"}}`
		tagged   = `{"file_name":"x.jsonl","formatting":"sharegpt","columns":{"messages":"m","system":"s"},"tags":{"role_tag":"role","content_tag":"content","user_tag":"user","assistant_tag":"assistant"}}`
		openai   = `{"file_name":"x.jsonl","formatting":"openai","columns":{"messages":"m","tools":"t"},"tags":{"role_tag":"role","content_tag":"content","user_tag":"user","assistant_tag":"assistant","observation_tag":"tool","function_tag":"function","system_tag":"system"}}`
	)
	for _, c := range []struct{ name, entry, row, want string }{
		{"instruction and input", plain, `{"instruction":"a","input":"b","output":"c"}`, `u:"a\nb" => a:"c"`},
		{"no input", plain, `{"instruction":"a","input":"","output":"c"}`, `u:"a" => a:"c"`},
		{"null input", plain, `{"instruction":"a","input":null,"output":"c"}`, `u:"a" => a:"c"`},
		{"input only", plain, `{"instruction":"","input":"b","output":"c"}`, `u:"b" => a:"c"`},
		{"empty answer is an answer", plain, `{"instruction":"a","input":"b","output":""}`, `u:"a\nb" => a:""`},
		{"null answer is none", plain, `{"instruction":"a","input":"b","output":null}`, `u:"a\nb" =>`},
		{"number as answer is none", plain, `{"instruction":"a","input":"b","output":3}`, `u:"a\nb" =>`},
		{"null instruction", plain, `{"instruction":null,"input":"b","output":"c"}`, `u:"b" => a:"c"`},
		{"all columns", all, `{"q":"a","i":"b","a":"c","h":[["x","y"],["z",""]],"s":"S","t":"[]"}`, `u:"x" a:"y" u:"z" a:"" u:"a\nb" => a:"c" sys:"S" tools:"[]"`},
		{"all null", all, `{"q":"a","i":null,"a":"c","h":null,"s":null,"t":null}`, `u:"a" => a:"c"`},
		{"tools as a list", all, `{"q":"a","i":"","a":"c","h":[],"s":"","t":[{"name":"f","n":1.0}]}`, `u:"a" => a:"c" tools:"[{\"name\": \"f\", \"n\": 1.0}]"`},
		{"history with null", all, `{"q":"a","i":"","a":"c","h":[["x",null]],"s":"","t":""}`, `! null value: column 'h', turn 0 holds null`},
		{
			"null-out: query is not mapped", `{"file_name":"x.jsonl","columns":{"prompt":"instruction","response":"output"}}`,
			`{"instruction":"a","input":"b","output":"c"}`, `u:"a" => a:"c"`,
		},
		{"text for pre-training", `{"file_name":"x.jsonl","columns":{"prompt":"text"}}`, `{"text":"a\nb","output":"no"}`, `u:"a\nb" =>`},
		{"escapes", plain, `{"instruction":"\u00e9\ud83d\ude00\t\"","input":"","\u006futput":"c"}`, `u:"é😀\t\"" => a:"c"`},

		{
			"sharegpt", sharegpt, `{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"human","value":"c"},{"from":"gpt","value":"d"}]}`,
			`u:"a" a:"b" u:"c" => a:"d"`,
		},
		{
			"system and tools roles", sharegpt, `{"conversations":[{"from":"system","value":"S"},{"from":"human","value":"a"},{"from":"function_call","value":"{}"},{"from":"observation","value":"o"},{"from":"gpt","value":"d"}]}`,
			`u:"a" f:"{}" o:"o" => a:"d" sys:"S"`,
		},
		{
			"wrong order", sharegpt, `{"conversations":[{"from":"gpt","value":"a"},{"from":"human","value":"b"}]}`,
			`! invalid role order: message 0 is of role assistant where a user or observation is expected`,
		},
		{
			"late system", sharegpt, `{"conversations":[{"from":"human","value":"a"},{"from":"system","value":"b"}]}`,
			`! invalid role order: message 1 is of role system where an assistant or function is expected`,
		},
		{"odd count", sharegpt, `{"conversations":[{"from":"human","value":"a"}]}`, `! invalid message count: 1 messages; they must come in pairs of question and answer`},
		{"nothing said", sharegpt, `{"conversations":[]}`, `! invalid message count: 0 messages; they must come in pairs of question and answer`},
		{"null messages", sharegpt, `{"conversations":null}`, `! null value: column 'conversations' is null`},
		{"null content", sharegpt, `{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":null}]}`, `! null value: message 1's 'value' is null`},
		{"system column", tagged, `{"s":"S","m":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, `u:"a" => a:"b" sys:"S"`},
		{
			"null-out: no system_tag", tagged, `{"s":"S","m":[{"role":"system","content":"a"},{"role":"user","content":"b"}]}`,
			`! invalid role order: message 0 is of role 'system' (which no tag names) where a user or observation is expected`,
		},

		{"openai without system or tools", openai, `{"t":null,"m":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, `u:"a" => a:"b" sys:"detailed thinking off"`},
		{"openai with system", openai, `{"t":"","m":[{"role":"system","content":"S"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, `u:"a" => a:"b" sys:"S\ndetailed thinking off"`},
		{"openai thinking on", openai, `{"t":"","m":[{"role":"system","content":"detailed thinking on"},{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, `u:"a" => a:"b" sys:"detailed thinking on"`},
		{
			"openai tools", openai, `{"t":[{"type":"function"}],"m":[{"role":"system","content":"S"},{"role":"user","content":"a"},
			{"role":"assistant","content":null,"tool_calls":[{"id":"1","function":{"name":"f","arguments":"{\"x\": 1}"}},{"function":{"name":"g","arguments":{"y":"é"}}}]},
			{"role":"tool","content":"r1"},{"role":"tool","content":"r2"},{"role":"assistant","content":"b","tool_calls":null}]}`,
			`u:"a" f:"[{\"name\": \"f\", \"arguments\": \"{\\\"x\\\": 1}\"}, {\"name\": \"g\", \"arguments\": {\"y\": \"é\"}}]" o:"r1\n</tool_response>\n<tool_response>\nr2" => a:"b" sys:"S\n" tools:"[{\"type\": \"function\"}]"`,
		},
		{"openai results at the end are lost", openai, `{"t":[1],"m":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"tool","content":"r"}]}`, `u:"a" => a:"b" tools:"[1]"`},
		{"openai unknown role", openai, `{"t":[1],"m":[{"role":"bot","content":"a"},{"role":"assistant","content":"b"}]}`, `! invalid role order: message 0 is of role 'bot', which no tag names`},
	} {
		if got := show1(t, c.entry, c.row); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A subtask column is read by default where a row has it; one that the entry names is required.
func TestSubtask(t *testing.T) {
	const (
		plain  = `{"file_name":"x.jsonl"}`
		named  = `{"file_name":"x.jsonl","columns":{"prompt":"instruction","response":"output","subtask":"task"}}`
		shared = `{"file_name":"x.jsonl","formatting":"sharegpt","columns":{"messages":"conversations"}}`
	)
	for _, c := range []struct{ entry, row, want, fault string }{
		{plain, `{"instruction":"a","input":"","output":"c","subtask":"algebra"}`, "algebra", ""},
		{plain, `{"instruction":"a","input":"","output":"c"}`, "", ""},
		{plain, `{"instruction":"a","input":"","output":"c","subtask":null}`, "", ""},
		{plain, `{"instruction":"a","input":"","output":"c","subtask":7}`, "7", ""},
		{plain, `{"instruction":"a","input":"","output":"c","subtask":["x"]}`, "", ""},
		{named, `{"instruction":"a","output":"c","task":"x","subtask":"not this"}`, "x", ""},
		{named, `{"instruction":"a","output":"c","task":null}`, "", ""},
		{named, `{"instruction":"a","output":"c"}`, "", "column 'task' is missing"},
		{named, `{"instruction":"a","output":"c","task":{}}`, "", "column 'task' is an object; the name of a subtask is expected"},
		{shared, `{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"subtask":"chat"}`, "chat", ""},
	} {
		dir := folder(t, map[string]string{InfoFile: `{"x":` + c.entry + `}`, "x.jsonl": c.row})
		set, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}})
		switch {
		case c.fault != "":
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%s: %v, want %q", c.row, err, c.fault)
			}
		case err != nil:
			t.Errorf("%s: %v", c.row, err)
		case set.Samples[0].Subtask != c.want || len(set.Warnings) > 0:
			t.Errorf("%s: subtask %q, want %q; warnings %v", c.row, set.Samples[0].Subtask, c.want, set.Warnings)
		}
	}
}

// Find returns the same rows as Load, whatever num_samples drew.
func TestFind(t *testing.T) {
	dir := folder(t, map[string]string{
		InfoFile: `{"x":{"file_name":"x.jsonl","num_samples":40},"y":{"file_name":"y.csv"}}`,
		"y.csv":  "instruction,input,output,subtask\na,b,c,d\ne,,f,\n",
		"x.jsonl": strings.Repeat(`{"instruction":"first","input":"here","output":"1"}`+"\n", 20) +
			strings.Repeat(`{"instruction":"then","input":"","output":"2"}`+"\n", 1500),
	})
	samples := load(t, dir, "x", "y").Samples
	slices.Reverse(samples)
	var ids []data.ID
	for _, s := range samples {
		ids = append(ids, s.ID)
	}
	c, err := OpenCatalog(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Find(context.Background(), c, ids, 2)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(samples, got); diff != "" {
		t.Errorf("-loaded +found\n%s", diff)
	}
	if got[1].Query != "b" || got[1].Subtask != "d" || got[1].Prompt[0].Content != "a\nb" {
		t.Errorf("the first row of y is %+v", got[1])
	}
	if _, err := Find(context.Background(), c, []data.ID{{Dataset: "y", Row: 2}}, 1); err == nil || !strings.Contains(err.Error(), "row 2") {
		t.Errorf("a row past the end: %v", err)
	}
}

// Values from CPython 3.11: json.dumps(json.loads(v), ensure_ascii=False).
func TestPythonJSON(t *testing.T) {
	for v, want := range map[string]string{
		`{"a":[1,2.50,-0,1e5,1E-7,123456789012345678901234567890],"b":{}}`: `{"a": [1, 2.5, 0, 100000.0, 1e-07, 123456789012345678901234567890], "b": {}}`,
		`[1e16,1e15,0.0001,0.00001,-0.0,1e400,-1e400]`:                     `[1e+16, 1000000000000000.0, 0.0001, 1e-05, -0.0, Infinity, -Infinity]`,
		`["\u00e9\/\u0001\u007f\b\f\n\r\t\"\\", true,false,null]`:          `["é/\u0001` + "\x7f" + `\b\f\n\r\t\"\\", true, false, null]`,
	} {
		if got := pythonJSON([]byte(v)); got != want {
			t.Errorf("%s:\n got %s\nwant %s", v, got, want)
		}
	}
}

func compressed(t *testing.T, kind, text string) string {
	t.Helper()
	var b bytes.Buffer
	var err error
	if kind == "gz" {
		w := gzip.NewWriter(&b)
		_, err = w.Write([]byte(text))
		if err == nil {
			err = w.Close()
		}
	} else {
		w, e := zstd.NewWriter(&b)
		if e != nil {
			t.Fatal(e)
		}
		_, err = w.Write([]byte(text))
		if err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFiles(t *testing.T) {
	const rows = `{"instruction":"a","input":"","output":"1"}` + "\n" + `{"instruction":"b","input":"","output":"2"}` + "\n"
	array := "[" + strings.Replace(strings.TrimSpace(rows), "\n", ",\n", 1) + "]\n"
	dir := folder(t, map[string]string{
		InfoFile: "\xef\xbb\xbf" + `{"jsonl":{"file_name":"a.jsonl"},"array":{"file_name":"a.json"},"lines":{"file_name":"lines.json"},"gz":{"file_name":"a.jsonl.gz"},
			"zst":{"file_name":"a.json.zst"},"csv":{"file_name":"a.csv"},"txt":{"file_name":"a.txt","columns":{"prompt":"text"}},"dir":{"file_name":"parts"}}`,
		"a.jsonl": rows, "a.json": "\xef\xbb\xbf" + array, "lines.json": rows,
		"a.jsonl.gz": compressed(t, "gz", rows), "a.json.zst": compressed(t, "zst", array),
		"a.csv":            "instruction,input,output,score\na,,1,7\n\"b\",,\"2\"\n",
		"a.txt":            "a\n\nb\r\n",
		"parts/2.jsonl":    `{"instruction":"b","input":"","output":"2"}`,
		"parts/1.json":     `[{"instruction":"a","input":"","output":"1"}]`,
		"parts/.gitignore": "x",
		"parts/sub/3.json": "not read",
	})
	want := []string{`u:"a" => a:"1"`, `u:"b" => a:"2"`}
	for _, name := range []string{"jsonl", "array", "lines", "gz", "zst", "csv", "dir"} {
		set := load(t, dir, name)
		for i, s := range set.Samples {
			if got := show(s); got != want[i] || s.ID != (data.ID{Dataset: name, Row: i}) {
				t.Errorf("%s row %d: %v %s", name, i, s.ID, got)
			}
		}
		if len(set.Samples) != 2 || len(set.Warnings) != 0 {
			t.Errorf("%s: %d samples, warnings %q", name, len(set.Samples), set.Warnings)
		}
	}
	var text []string
	for _, s := range load(t, dir, "txt").Samples {
		text = append(text, show(s))
	}
	if want := []string{`u:"a" =>`, `u:"" =>`, `u:"b" =>`}; !slices.Equal(text, want) {
		t.Errorf("txt: %q", text)
	}
}

// Every fault names the dataset, the file, the row and what to do.
func TestFaults(t *testing.T) {
	info := `{"x":{"file_name":"x.jsonl"},"pool":{"file_name":"pool.json"},"pair":{"file_name":"x.jsonl","ranking":true},"kto":{"file_name":"x.jsonl","columns":{"prompt":"a","kto_tag":"l"}},
		"img":{"file_name":"x.jsonl","formatting":"sharegpt","columns":{"messages":"m","images":"i"}},"hub":{"hf_hub_url":"org/set","file_name":"x.jsonl"},"ms":{"ms_hub_url":"m/s"},"script":{"script_url":"s"},
		"cloud":{"cloud_file_name":"s3://b/k"},"none":{},"fmt":{"file_name":"x.jsonl","formatting":"sharegtp"},"gone":{"file_name":"gone.json"},"zipped":{"file_name":"z.json"},"pq":{"file_name":"p.arrow"},
		"ext":{"file_name":"x.xml"},"mixed":{"file_name":"mixed"},"hollow":{"file_name":"hollow"},"nomsg":{"file_name":"x.jsonl","formatting":"sharegpt","columns":{"prompt":"a"}},
		"notag":{"file_name":"x.jsonl","formatting":"sharegpt","tags":{"user_tag":"u"}},"count":{"file_name":"x.jsonl","num_samples":0},"type":{"file_name":3},"share":{"file_name":"x.jsonl","formatting":"sharegpt"},"csv":{"file_name":"x.csv"}}`
	ok := `{"instruction":"a","input":"","output":"b"}` + "\n"
	for _, c := range []struct {
		name, file, text string
		want             []string
	}{
		{"pol", "", "", []string{"Undefined dataset pol in", InfoFile, "did you mean pool?"}},
		{"nothing like it", "", "", []string{"Undefined dataset nothing like it in", "; there are cloud, count, csv, ext,", "more"}},
		{"pair", "", "", []string{"dataset pair in", "not applicable in the current training stage", "ranking"}},
		{"kto", "", "", []string{"kto_tag", "remove"}},
		{"img", "x.jsonl", `{"m":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"i":["a.png"]}`, []string{"dataset img, row 0 (line 1)", "column 'i'", "only text"}},
		{"hub", "", "", []string{"dataset hub in", "org/set", "dataflex-cli download org/set --dataset"}},
		{"ms", "", "", []string{"ModelScope", "dataflex-cli download m/s --dataset"}},
		{"script", "", "", []string{"Python code", "file_name"}},
		{"cloud", "", "", []string{"s3://b/k", "file_name"}},
		{"none", "", "", []string{"no file_name"}},
		{"fmt", "", "", []string{"dataset converter sharegtp not found", "did you mean sharegpt?"}},
		{"gone", "", "", []string{"dataset gone in", "gone.json not found"}},
		{"zipped", "z.json.gz", "", []string{"z.json.gz is there", "set file_name to z.json.gz"}},
		{"pq", "p.arrow", "", []string{"p.arrow", "to_parquet", "p.parquet"}},
		{"ext", "x.xml", "", []string{"x.xml", "allowed file types: csv, json, jsonl, txt"}},
		{"mixed", "mixed/a.csv", "a", []string{"file types should be identical", "a.csv", "b.txt"}},
		{"hollow", "hollow/.keep", "", []string{"holds no file"}},
		{"nomsg", "", "", []string{"columns.messages"}},
		{"notag", "", "", []string{"role_tag and content_tag"}},
		{"count", "", "", []string{"num_samples is 0"}},
		{"type", "", "", []string{"file_name is 3", "a string"}},
		{"x", "x.jsonl", ok + `{"instruction":"a","input":""}`, nil},
		{"x", "x.jsonl", `{"instruction":"a","input":""}`, []string{"dataset x: column 'output' is missing: no row of", "x.jsonl has it; the first row has 'instruction', 'input'", "columns", InfoFile}},
		{"x", "x.jsonl", ok + `{"instruction":1,"input":"","output":"b"}`, []string{"row 1 (line 2)", "column 'instruction' is a number; a string is expected"}},
		{"x", "x.jsonl", "", []string{"dataset x is empty", "x.jsonl"}},
		{"x", "x.jsonl", ok + ok + "{\"instruction\":\"a\",\n\"inp", []string{"dataset x:", "x.jsonl, row 2, line 4", "byte 112", "cut off"}},
		{"x", "x.jsonl", ok + ok + "{\"instruction\" \"a\"}", []string{"x.jsonl, row 2, line 3 (byte 103)"}},
		{"x", "x.jsonl", "[" + strings.TrimSpace(ok), []string{"row 1, line 1", "cut off"}},
		{"x", "x.jsonl", "[" + ok + "] 3", []string{"after the array's closing bracket"}},
		{"x", "x.jsonl", ok + "[1]", []string{"row 1", "the row is a list; an object of columns is expected"}},
		{"x", "x.jsonl", "\"a\xff\"", []string{"row 0"}},
		{"share", "x.jsonl", `{"conversations":"a"}`, []string{"row 0", "column 'conversations' is a string; a list of messages"}},
		{"share", "x.jsonl", `{"conversations":[{"from":"human","text":"a"}]}`, []string{"no message of column 'conversations' has 'value'", "content_tag"}},
		{"share", "x.jsonl", `{"conversations":[{"role":"human","value":"a"}]}`, []string{"no message of column 'conversations' has 'from'", "role_tag"}},
		{"share", "x.jsonl", `{"conversations":[{"from":"human","value":[{"type":"text"}]}]}`, []string{"message 0's 'value' is a list; a string is expected"}},
		{"csv", "x.csv", "instruction,input\na,b\n", []string{"dataset csv: column 'output' is missing: no row of", "the first row has instruction, input"}},
		{"csv", "x.csv", "instruction,input,output\na,b,c,d\n", []string{"x.csv, row 0, line 2", "4 fields, but the header names 3"}},
		{"csv", "x.csv", "instruction,input,output\na,\"b,c\n", []string{"x.csv", "row 0", "line"}},
	} {
		files := map[string]string{InfoFile: info, "mixed/b.txt": "b"}
		if c.file != "" {
			files[c.file] = c.text
		}
		_, err := Load(context.Background(), Options{Dir: folder(t, files), Names: []string{c.name}})
		if c.want == nil && err != nil || c.want != nil && err == nil {
			t.Errorf("%s %q: %v", c.name, c.text, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s %q: %q\n  lacks %q", c.name, c.text, err, w)
			}
		}
	}
}

func TestInfoFaults(t *testing.T) {
	for text, want := range map[string]string{
		`{"x":{"file_name":"a"},}`:                  "line 1, column 24",
		"{\n \"x\": 3}":                             "dataset x in",
		`{"x":"see the README"}`:                    "is a string; an object with file_name",
		`{"x":{"file_name":"a","columns":["a"]}}`:   "columns is [\"a\"]; it must be an object",
		`{"x":{"file_name":"a","ranking":"maybe"}}`: "ranking is \"maybe\"; it must be true or false",
	} {
		_, err := Load(context.Background(), Options{Dir: folder(t, map[string]string{InfoFile: text}), Names: []string{"x"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for dir, want := range map[string]string{t.TempDir(): "Cannot open", "ONLINE": "never uses the network", "REMOTE:a/b": "never uses the network"} {
		_, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("dataset_dir %s: %v", dir, err)
		}
	}
	dir := folder(t, map[string]string{InfoFile: `{"x":{"file_name":"x.txt","formating":"alpaca","columns":{"prompt":"text","respones":"y"}}}`, "x.txt": "a"})
	set := load(t, dir, "x", "x")
	if want := []string{"columns.respones is not a known key and is ignored; did you mean response?", "formating is not a known key and is ignored; did you mean formatting?", "listed more than once"}; len(set.Warnings) != 3 ||
		!strings.Contains(set.Warnings[0], want[0]) || !strings.Contains(set.Warnings[1], want[1]) || !strings.Contains(set.Warnings[2], want[2]) {
		t.Errorf("warnings %q", set.Warnings)
	}
	if len(set.Samples) != 1 {
		t.Errorf("a name listed twice gives %d samples", len(set.Samples))
	}
}

func TestTruncatedArchive(t *testing.T) {
	rows := strings.Repeat(`{"instruction":"a","input":"","output":"b"}`+"\n", 1000)
	for _, kind := range []string{"gz", "zst"} {
		whole := compressed(t, kind, rows)
		dir := folder(t, map[string]string{InfoFile: `{"x":{"file_name":"x.jsonl.` + kind + `"}}`, "x.jsonl." + kind: whole[:len(whole)-10]})
		_, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}})
		if err == nil || !strings.Contains(err.Error(), "dataset x") || !strings.Contains(err.Error(), "x.jsonl."+kind) || !strings.Contains(err.Error(), "cut off") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestSharedData reads LLaMA-Factory's own demo files where they are available, with their own
// dataset_info.json: every text row is usable, the others are refused by name.
func TestSharedData(t *testing.T) {
	const shared = "../../../shared/data/finetune"
	text, err := os.ReadFile(filepath.Join(shared, "dataset_info.llamafactory.json"))
	if err != nil {
		t.Skip("../shared/data is not here")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, InfoFile), bytes.ReplaceAll(text, []byte(`demo.json"`), []byte(`demo.json.gz"`)), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(shared, "*.gz"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		absolute, err := filepath.Abs(f)
		if err == nil {
			err = os.Symlink(absolute, filepath.Join(dir, filepath.Base(f)))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, rows := range map[string]int{"alpaca_en_demo": 500, "alpaca_zh_demo": 498, "glaive_toolcall_en_demo": 150} {
		set := load(t, dir, name)
		if len(set.Samples) != rows || len(set.Warnings) > 0 {
			t.Errorf("%s: %d rows, %d expected, warnings %q", name, len(set.Samples), rows, set.Warnings)
		}
		for _, s := range set.Samples {
			if s.Broken != "" || len(s.Response) != 1 {
				t.Errorf("%s row %d: %s", name, s.Row, s.Broken)
			}
		}
	}
	for name, want := range map[string]string{"dpo_en_demo": "ranking", "kto_en_demo": "kto_tag", "alpaca_en": "llamafactory/alpaca_en"} {
		if _, err := Load(context.Background(), Options{Dir: dir, Names: []string{name}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Strings are decoded as encoding/json does.
func TestUnescape(t *testing.T) {
	for _, text := range []string{
		``, `plain`, `a\nb\tc\rd\be\ff`, `\"\\\/`, `\u0041\u00e9\u4f60\uFFfd`, `\ud83d\ude00\uD83D\uDE00x`, `é\u0000\n`, `\\n`,
	} {
		var want string
		if err := json.Unmarshal([]byte(`"`+text+`"`), &want); err != nil {
			t.Fatal(err)
		}
		if got := unquote(jsontext.Value(`"` + text + `"`)); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// Lines are not parsed while they are read; a line that is not one object is read as JSON from
// its start, and a faulty line is named.
func TestLines(t *testing.T) {
	for text, want := range map[string]string{
		"{\"text\":\"a\"}\r\n\n  {\"text\":\"b\"}  \n{\"text\":\"c\"}":                "a b c",
		"{\"text\":\"a\"}\n{\n \"text\": \"b\"\n}\n{\"text\":\"c\"} {\"text\":\"d\"}": "a b c d",
		"{\n\"text\":\"a\"}{\"text\":\"b\"}\n":                                        "a b",
		"\n[{\"text\":\"a\"},\n{\"text\":\"b\"}]\n":                                   "a b",
		"{\"text\":\"a\"}\n{\"text\":\"b\",}\n":                                       "! row 1, line 2 (byte 24): invalid character",
		"{\"text\":\"a\"}\n{\"text\":\"b\"} {\"text\":\"c\"}\n":                       "a b c",
		"{\"text\":\"a\",\"text\":\"b\"}\n":                                           "! row 0, line 1 (byte 12): duplicate object member name",
		"{\"text\":\"a\"}\n{\"text\":\"\xff\"}\n":                                     "! row 1, line 2 (byte 22): invalid UTF-8",
		"{\"text\":\"a\"}\n{\"text\":{\"x\":1}\n,\"y\":2}":                            "! row 1, line 2 (byte 28): the object does not end on its line",
		"{\"text\":\"\\ud800\"}\n":                                                    "",
	} {
		dir := folder(t, map[string]string{InfoFile: `{"x":{"file_name":"x.jsonl","columns":{"prompt":"text"}}}`, "x.jsonl": text})
		set, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}})
		var got []string
		if err != nil {
			_, after, _ := strings.Cut(err.Error(), "x.jsonl, ")
			got = []string{"!", after}
		} else {
			for i, s := range set.Samples {
				got = append(got, s.Prompt[0].Content)
				if s.Row != i {
					t.Errorf("%q: row %d at place %d", text, s.Row, i)
				}
			}
		}
		if line := strings.Join(got, " "); line != want && !(err != nil && strings.HasPrefix(line, want)) {
			t.Errorf("%q: %s, want %s", text, line, want)
		}
	}
}

package dataset

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"dataflex.dev/dataflex/data"
)

const (
	plainInfo = `{"x":{"file_name":"%s"}}`
	shareInfo = `{"x":{"file_name":"%s","formatting":"sharegpt","columns":{"messages":"conversations","system":"system","tools":"tools"}}}`
	textInfo  = `{"x":{"file_name":"%s","columns":{"prompt":"text"}}}`
)

// Files as users have them, with the result of LLaMA-Factory 0.9.4 (datasets 3.6, pandas);
// where upstream fails and we do not, a comment says so.
func TestFieldFiles(t *testing.T) {
	const turn = `{"from":"human","value":"q"},{"from":"gpt","value":"a"}`
	for _, c := range []struct{ name, info, file, text, want string }{
		{"a key in some rows only", shareInfo, "x.jsonl", `{"conversations":[` + turn + `]}` + "\n" + `{"conversations":[` + turn + `],"system":"S","tools":"[]"}`, `u:"q" => a:"a"|u:"q" => a:"a" sys:"S" tools:"[]"`},
		{"a key in the last row only, in an array", `{"x":{"file_name":"%s","columns":{"prompt":"instruction","response":"output","history":"h"}}}`, "x.json", `[{"instruction":"a","output":"x"},{"instruction":"b","output":"y","h":[["q","r"]]}]`, `u:"a" => a:"x"|u:"q" a:"r" u:"b" => a:"y"`},
		{"no input anywhere", plainInfo, "x.jsonl", `{"instruction":"a","output":"x"}`, `u:"a" => a:"x"`},
		{"a message without its text", shareInfo, "x.jsonl", `{"conversations":[` + turn + `],"system":"","tools":""}` + "\n" + `{"conversations":[{"from":"human"},{"from":"gpt","value":"a"}]}`, `u:"q" => a:"a"|! null value: message 0's 'value' is null`},
		{"null instruction", plainInfo, "x.jsonl", `{"instruction":null,"input":"b","output":"c"}`, `u:"b" => a:"c"`},
		{"null text is an empty document", textInfo, "x.jsonl", "{\"text\":\"one\"}\n{\"text\":null}\n{\"text\":\"\"}", `u:"one" =>|u:"" =>|u:"" =>`},
		{"an entry that is a comment", `{"_comment":"alpaca","x":{"file_name":"%s"}}`, "x.jsonl", `{"instruction":"a","input":"","output":"x"}`, `u:"a" => a:"x"`},

		{"NaN in an array", plainInfo, "x.json", `[{"instruction":"a","input":NaN,"output":"x"},{"instruction":"b","input":"-NaN","output":"y","z":-Infinity}]`, `u:"a" => a:"x"|u:"b\n-NaN" => a:"y"`},
		{"NaN on a line", plainInfo, "x.jsonl", `{"instruction":"a","input":NaN,"output":"x","z":[Infinity]}`, `u:"a" => a:"x"`},
		{"half a surrogate pair", plainInfo, "x.json", `[{"instruction":"a","input":"","output":"cut \ud83d"},{"instruction":"b","input":"","output":"\ud83dy \\ud83d"}]`, `u:"a" => a:"cut "|u:"b" => a:"y \\ud83d"`},
		{"a low half", plainInfo, "x.jsonl", `{"instruction":"a","input":"","output":"\udc00\ud83d\ude00"}`, `u:"a" => a:"😀"`}, // upstream fails
		{"control characters", plainInfo, "x.json", "[{\"instruction\":\"a\tb\",\"input\":\"\",\"output\":\"x\ny\x01\"}]", `u:"a\tb" => a:"x\ny\x01"`},
		{"a line end inside a string of a line", plainInfo, "x.jsonl", "{\"instruction\":\"a\",\"input\":\"\",\"output\":\"x\n{y}\"}\n{\"instruction\":\"b\",\"input\":\"\",\"output\":\"z\"}", `u:"a" => a:"x\n{y}"|u:"b" => a:"z"`}, // upstream fails
		{"a doubled key in an array", plainInfo, "x.json", `[{"instruction":"a","input":"","output":"x","output":"y"}]`, `u:"a" => a:"y"`},
		{"null lines", plainInfo, "x.jsonl", "{\"instruction\":\"a\",\"input\":\"\",\"output\":\"x\"}\nnull\n{\"instruction\":\"c\",\"input\":\"\",\"output\":\"z\"}", `u:"a" => a:"x"|u:"c" => a:"z"`},
		{"objects on one line", plainInfo, "x.jsonl", `{"instruction":"a}{","input":"","output":"x"}{"instruction":"b","input":"","output":"y"}` + "\n" + `{"instruction":"c","input":"","output":"} {"}`, `u:"a}{" => a:"x"|u:"b" => a:"y"|u:"c" => a:"} {"`},

		{"csv: quotes inside fields", plainInfo, "x.csv", "instruction,input,output\nw?,,5\" steel\nw?,,the \"old\" man\nw?,,\"Ann\" Lee\nw?,,\"p\"\"q\"r\"\n", `u:"w?" => a:"5\" steel"|u:"w?" => a:"the \"old\" man"|u:"w?" => a:"Ann Lee"|u:"w?" => a:"p\"qr\""`},
		{"csv: line ends inside quotes stay", plainInfo, "x.csv", "instruction,input,output\r\nL,,\"one\r\ntwo\rthree\"\r\nok,,yes\r\n", `u:"L" => a:"one\r\ntwo\rthree"|u:"ok" => a:"yes"`},
		{"csv: CR ends a line", plainInfo, "x.csv", "instruction,input,output\rL,,one\rok,,yes\r", `u:"L" => a:"one"|u:"ok" => a:"yes"`},
		{"csv: blank lines and short rows", plainInfo, "x.csv", "\n\ninstruction,output,input\n\n  \t\na,b\n\"\",c,\n", `u:"a" => a:"b"|u:"" => a:"c"`},
		{"csv: words for null", plainInfo, "x.csv", "instruction,input,output\na,,None\na,,\"NA\"\na,,n/a\na,,-1.#IND\na,, NA\na,NULL,nil\n", `u:"a" =>|u:"a" =>|u:"a" =>|u:"a" =>|u:"a" => a:" NA"|u:"a" => a:"nil"`},

		{"txt: every line end", textInfo, "x.txt", "one\rtwo\r\nthree\n\n\x0cfour\u2028five\n", `u:"one" =>|u:"two" =>|u:"three" =>|u:"" =>|u:"\ffour\u2028five" =>`},
		{"txt: byte order mark", textInfo, "x.txt", "\ufeffa\nb", `u:"\ufeffa" =>|u:"b" =>`},
		{"txt: CR before CRLF", textInfo, "x.txt", "a\r\r\nb\r", `u:"a" =>|u:"" =>|u:"b" =>`},

		{"no image", `{"x":{"file_name":"%s","columns":{"prompt":"instruction","response":"output","images":"i","videos":"v"}}}`, "x.jsonl", `{"instruction":"a","output":"x","i":[],"v":null}` + "\n" + `{"instruction":"b","output":"y","i":""}`, `u:"a" => a:"x"|u:"b" => a:"y"`},
	} {
		dir := folder(t, map[string]string{InfoFile: fmt.Sprintf(c.info, c.file), c.file: c.text})
		set, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []string
		for _, s := range set.Samples {
			got = append(got, show(s))
		}
		if got := strings.Join(got, "|"); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A faulty row stops the run only if it is used.
func TestFaultIsTheRowsOwn(t *testing.T) {
	dir := folder(t, map[string]string{InfoFile: fmt.Sprintf(plainInfo, "x.jsonl"), "x.jsonl": `{"instruction":"a","input":"","output":"x"}` + "\n" + `{"instruction":3,"input":"","output":"x"}`})
	c, err := OpenCatalog(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Source("x")
	if err != nil {
		t.Fatal(err)
	}
	var faults []error
	err = Each(context.Background(), s, 0, 1, keepAll, func(rows []rowFault) error {
		for _, r := range rows {
			faults = append(faults, r.err)
		}
		return nil
	})
	if err != nil || len(faults) != 2 || faults[0] != nil || faults[1] == nil {
		t.Fatalf("%v, faults %v", err, faults)
	}
	if err := Locate(faults[1]); !strings.Contains(err.Error(), "row 1 (line 2)") {
		t.Error(err)
	}
}

// With max_samples a later row may have the column.
func TestColumnBeyondTheLimit(t *testing.T) {
	const rows = `{"instruction":"a","output":"x"}` + "\n" + `{"instruction":"a","output":"x","s":"S"}`
	dir := folder(t, map[string]string{InfoFile: `{"x":{"file_name":"x.jsonl","columns":{"prompt":"instruction","response":"output","system":"s"}},
		"y":{"file_name":"x.jsonl","columns":{"prompt":"instruction","response":"output","system":"t"}}}`, "x.jsonl": rows})
	if set, err := Load(context.Background(), Options{Dir: dir, Names: []string{"x"}, MaxSamples: 1}); err != nil || len(set.Samples) != 1 {
		t.Errorf("%v", err)
	}
	if _, err := Load(context.Background(), Options{Dir: dir, Names: []string{"y"}, MaxSamples: 1}); err == nil || !strings.Contains(err.Error(), "column 't' is missing") {
		t.Errorf("%v", err)
	}
}

// A compressed file is recognised by its first bytes, whatever its name.
func TestCompressedUnderAPlainName(t *testing.T) {
	var b strings.Builder
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(`{"instruction":"a","input":"","output":"x"}`)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	set := load(t, folder(t, map[string]string{InfoFile: fmt.Sprintf(plainInfo, "x.json"), "x.json": b.String()}), "x")
	if got := show(set.Samples[0]); got != `u:"a" => a:"x"` {
		t.Error(got)
	}
}

// Bounds as datasets 3.6's ReadInstruction.from_spec(...).to_absolute gives them.
func TestSplitOfAFile(t *testing.T) {
	for _, c := range []struct {
		split string
		n     int
		want  string
	}{
		{"train[:3]", 10, "0:3"},
		{"train[50%:]", 10, "5:10"},
		{"train[:33%]", 10, "0:3"},
		{"train[:33%]", 250, "0:82"},
		{"train[-2:]", 10, "8:10"},
		{"train[:-1]", 250, "0:249"},
		{"train[2:5]+train[7:]", 10, "2:5 7:10"},
		{"train[:3] + train[5:6]", 10, "0:3 5:6"},
		{"train[:33%](pct1_dropremainder)", 250, "0:66"},
		{"train[:50%](closest)", 250, "0:125"},
		{"train[5:3]", 10, "5:5"},
		{"train[:500]", 10, "0:10"},
		{"train[1_0:]", 250, "10:250"},
		{"train[-15%:]", 10, "8:10"},
		{"train[-15%:]", 250, "212:250"},
		{"train[:25%]", 10, "0:2"},
		{"train[:25%]", 250, "0:62"},
	} {
		parts, _, err := parseSplit(c.split, false)
		if err != nil {
			t.Errorf("%s: %v", c.split, err)
		}
		var got []string
		for _, p := range parts {
			from, to := p.bounds(c.n)
			got = append(got, fmt.Sprintf("%d:%d", from, to))
		}
		if got := strings.Join(got, " "); got != c.want {
			t.Errorf("%s of %d: %s, want %s", c.split, c.n, got, c.want)
		}
	}
	if parts, name, err := parseSplit("all", false); parts != nil || name != "train" || err != nil {
		t.Errorf("all: %v of %s, %v", parts, name, err)
	}
	for split, want := range map[string]string{
		"all[:2]": `Unknown split "all"`, "all+train": `Unknown split "all"`,
		"test": `Unknown split "test"`, "train+test": `Unknown split "test"`, "train[ :3]": "is not a split", "train[3]": "is not a split",
		"train[110%:]": "between -100 and 100", "train[:2](closest)": "percent only", "train[:2%](up)": "not known",
	} {
		if _, _, err := parseSplit(split, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", split, err)
		}
	}
	dir := folder(t, map[string]string{
		InfoFile: `{"x":{"file_name":"x.txt","columns":{"prompt":"text"},"split":"train[1:2]+train[-1:]"},"none":{"file_name":"x.txt","columns":{"prompt":"text"},"split":"train[5:]"}}`,
		"x.txt":  "a\nb\nc\nd",
	})
	set := load(t, dir, "x")
	if len(set.Samples) != 2 || set.Samples[0].Row != 1 || set.Samples[1].Row != 3 {
		t.Errorf("%+v", set.Samples)
	}
	if _, err := Load(context.Background(), Options{Dir: dir, Names: []string{"none"}}); err == nil || !strings.Contains(err.Error(), "none of its 4 rows") {
		t.Error(err)
	}
}

func TestNullWordsAreCounted(t *testing.T) {
	c, err := OpenCatalog(folder(t, map[string]string{InfoFile: fmt.Sprintf(plainInfo, "x.csv"), "x.csv": "instruction,input,output,z\na,,None,NA\nb,NA,c,\n"}), nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Source("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := Each(context.Background(), s, 0, 2, keepAll, func([]rowFault) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if n := s.Notes(); len(n) != 1 || !strings.Contains(n[0], "2 fields of") {
		t.Errorf("%q", n)
	}
}

// rowFault is the part of a sample that a test checks.
type rowFault struct{ err error }

func keepAll(samples []data.Sample) (out []rowFault, _ error) {
	for _, s := range samples {
		out = append(out, rowFault{s.Fault})
	}
	return out, nil
}

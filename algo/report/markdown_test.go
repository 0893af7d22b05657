package report

import (
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/data/pyjson"
)

func TestMarkdownShowsAndDoesNothing(t *testing.T) {
	for in, want := range map[string]string{
		"plain my_set 0.5 %":           "plain my_set 0.5 %",
		"<img src=x onerror=alert(1)>": "&lt;img src=x onerror=alert(1)&gt;",
		"a|b\nc":                       `a\|b c`,
		"[x](javascript:1)":            `\[x\](javascript:1)`,
		"`*~\\":                        "\\`\\*\\~\\\\",
		"_a_b_":                        `\_a_b\_`,
		"&lt;":                         "&amp;lt;",
		"a\x1b[31m\u202eb":             `a\\u001b\[31m\\u202eb`,
		"数据":                           "数据",
	} {
		if got := markdown(in); got != want {
			t.Errorf("%q: %s, not %s", in, got, want)
		}
	}
	for in, want := range map[string]string{"a/b": "`a/b`", "a`b": "``a`b``", "`a": "`` `a ``", "a\nb": "`a b`"} {
		if got := code(in); got != want {
			t.Errorf("%q: %s, not %s", in, got, want)
		}
	}
}

// TestHostileNamesInMarkdown: names of data sets and folders cannot become markup in the files
// that a run writes.
func TestHostileNamesInMarkdown(t *testing.T) {
	const hostile = "<script>x</script>|`](http://a)"
	dir := t.TempDir()
	line := pyjson.Encode(pyjson.Object{{Key: "step", Value: 4}, {Key: "update", Value: 1}, {Key: "rank", Value: 0}, {Key: "index", Value: 0}, {Key: "dataset", Value: hostile}, {Key: "row", Value: 0}, {Key: hostile, Value: 0.5}}, 0)
	appendTo(t, filepath.Join(dir, PicksName), line+"\n"+strings.Replace(line, `"step": 4`, `"step": 8`, 1)+"\n")
	if _, ok, err := WriteSelectionReport(dir); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := WriteCard(dir, Card{BaseModel: hostile, Datasets: []string{hostile}, Method: hostile, Scheduler: hostile, History: []pyjson.Object{{{Key: "eval_" + hostile, Value: 1.0}, {Key: "step", Value: 1}}}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{SelectionReportName, CardName} {
		text := read(t, dir, name)
		if _, body, ok := strings.Cut(text, "---\n\n"); ok {
			text = body // after the front matter, which is YAML
		}
		for _, bad := range []string{"<script", "|`", " `](", "x](http"} {
			if strings.Contains(strings.ReplaceAll(text, code(hostile), ""), bad) {
				t.Errorf("%s holds %q:\n%s", name, bad, text)
			}
		}
	}
}

package page

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dataflex.dev/dataflex/algo/report/chromium"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data"
)

// page makes the page of runs and returns its path.
func made(t *testing.T, dirs ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page.html")
	if err := WriteRuns(context.Background(), path, dirs); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPageInChromium: every panel of every train type has the numbers computed independently,
// in both themes and at a phone's width, without browser errors.
func TestPageInChromium(t *testing.T) {
	b := chromium.Start(t)
	e := expectedOf(t, "select").Choice
	last := e.Selections[len(e.Selections)-1]
	panels := map[string]map[string][]string{
		"select": {
			"short":           {"finished: 12 steps", "fits: ", "less, mode faithful", "48 rows of add, words"},
			"selections":      {fmt.Sprintf("%d choices of %d different rows, of 48", e.Choices, e.Distinct), fmt.Sprintf("%d\t3\t%d\t%d\t%d (", last.Step, last.Rows, last.Distinct, last.Overlap)},
			"drift":           {fmt.Sprintf(".%02.0f", 100*e.Jaccard[0][1])},
			"scores":          {"step 3: 48 rows, 12 chosen", "step 9: 48 rows, 12 chosen"},
			"shares":          {"62.5 % → 72.2 %; last 58.3 %", "Han 4.2 % → 0.0 %"},
			"duplicates":      {"words 0, words 1", "words 2, words 3"},
			"rows":            {"48 of 48 rows"},
			"curve loss":      {"eval_loss"},
			"memory":          {"weights 1.4 MiB"},
			"time":            {"selecting"},
			"config":          {"learning_rate", "***"},
			"curve grad_norm": nil, "curve learning_rate": nil, "curve tokens_per_second": nil,
		},
		"mix":    {"short": {"odm"}, "mixture shares": {"add", "words"}, "mixture losses": {"add", "words"}},
		"weight": {"short": {"loss, mode"}, "weights": {"28 weighed rows"}, "weights course": {"three quarters"}, "heavy": {"words row 12", "1.75"}, "light": {"0.4369"}, "rows": {"heavy", "weight 1.75"}},
		"static": {"short": {"finished: 6 steps", "train_type\tstatic"}, "curve loss": {"eval_loss"}},
	}
	for name, want := range panels {
		path := made(t, recorded(t, name))
		for _, theme := range []string{"light", "dark"} {
			b.Open(path, 1400, theme)
			for panel, texts := range want {
				shown := b.Text(fmt.Sprintf("[data-panel=%q]", panel))
				for _, text := range append(texts, "") {
					if shown == "(none)" || !strings.Contains(shown, text) {
						t.Errorf("%s, panel %s has no %q:\n%s", name, panel, text, shown)
					}
				}
			}
			var drawn int
			b.Eval(`document.querySelectorAll("svg[role=img] polyline, svg[role=img] rect").length`, &drawn)
			if drawn == 0 {
				t.Errorf("%s: nothing is drawn", name)
			}
			b.Screenshot(name + "-" + theme)
			b.Clean()
		}
		b.Open(path, 390, "light")
		var wide int
		b.Eval("document.documentElement.scrollWidth", &wide)
		if wide > 390 {
			t.Errorf("%s: %d pixels wide on a phone of 390", name, wide)
		}
		b.Screenshot(name + "-phone")
		b.Clean()
	}
}

// TestRowsInChromium: filtered, sorted and searched.
func TestRowsInChromium(t *testing.T) {
	b := chromium.Start(t)
	b.Open(made(t, recorded(t, "select")), 1200, "light")
	e := expectedOf(t, "select").Choice
	count := func() string { return strings.Split(b.Text("[data-panel=rows] .count"), ",")[0] }
	first := func() string { return b.Text("[data-panel=rows] article") }
	b.Set("[data-panel=rows] [name=kind]", "change", "chosen")
	if got, want := count(), fmt.Sprintf("%d of 48 rows", e.Distinct); got != want {
		t.Errorf("chosen: %s, not %s", got, want)
	}
	b.Set("[data-panel=rows] [name=kind]", "change", "passed over")
	b.Set("[data-panel=rows] [name=order]", "change", "score, highest first")
	if got, want := first(), fmt.Sprintf("%v row %v", e.Passed[0][0], e.Passed[0][1]); !strings.HasPrefix(got, want) {
		t.Errorf("passed over with the highest score: %q, not %s", got, want)
	}
	b.Set("[data-panel=rows] [name=order]", "change", "score, lowest first")
	if got, want := first(), fmt.Sprintf("%v row %v", e.Passed[len(e.Passed)-1][0], e.Passed[len(e.Passed)-1][1]); !strings.HasPrefix(got, want) {
		t.Errorf("with the lowest: %q, not %s", got, want)
	}
	b.Set("[data-panel=rows] [name=kind]", "change", "")
	b.Set("[data-panel=rows] [name=dataset]", "change", "words")
	if got := count(); got != "18 of 48 rows" {
		t.Errorf("words: %s", got)
	}
	b.Set("[data-panel=rows] [name=script]", "change", "Han")
	if got := count(); got != "2 of 48 rows" {
		t.Errorf("Han: %s", got)
	}
	b.Set("[data-panel=rows] [name=script]", "change", "")
	b.Set("[data-panel=rows] input[type=search]", "input", "你好")
	if got := count(); got != "1 of 48 rows" || b.Text("[data-panel=rows] mark") != "你好" {
		t.Errorf("search: %s, marked %s", got, b.Text("[data-panel=rows] mark"))
	}
	b.Set("[data-panel=rows] input[type=search]", "input", "")
	b.Set("[data-panel=rows] [name=dataset]", "change", "")
	b.Set("[data-panel=rows] [name=step]", "change", "9")
	if got := count(); got != "12 of 48 rows" {
		t.Errorf("step 9: %s", got)
	}
	b.Set("[data-panel=config] input", "input", "lora_rank")
	if got := b.Text("[data-panel=config] tbody"); got != "lora_rank\t4" {
		t.Errorf("configuration: %q", got)
	}
	b.Clean()
}

// TestHostileTextsInChromium: the text of a data set is shown and has no effect.
func TestHostileTextsInChromium(t *testing.T) {
	b := chromium.Start(t)
	path := made(t, recorded(t, "select"))
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(raw), "<script"); n != 2 { // the page's own
		t.Errorf("%d script elements in the file", n)
	}
	b.Open(path, 1200, "light")
	b.Set("[data-panel=rows] [name=kind]", "change", "passed over")
	b.Set("[data-panel=rows] [name=dataset]", "change", "words")
	shown := b.Text("[data-panel=rows] .rows")
	for _, text := range []string{"</script><script>document.title='owned'</script>", `<img src=x onerror="document.title='owned'">`, "⟨U+202E⟩gnp.exe", "␇bell", "␛[31mred", "a␀b ⟨U+200B⟩zero⟨U+2066⟩isolate", "<!--<script>", "]]> --> &lt;b&gt; ${1} {{.}}"} {
		if !strings.Contains(shown, text) {
			t.Errorf("no %q in\n%s", text, shown)
		}
	}
	var images int
	b.Eval("document.images.length", &images)
	var title string
	b.Eval("document.title", &title)
	if images != 0 || title != "select – training report" {
		t.Errorf("%d images, title %q", images, title)
	}
	b.Clean()

	// Even if a text were taken for markup, the page's policy would not run it.
	b.Eval(`(() => { const s = document.createElement("script"); s.append("document.title = 'owned'"); try { document.body.append(s); } catch (e) {} })()`, nil)
	b.Eval("document.title", &title)
	if title != "select – training report" {
		t.Error("a script that the page's policy does not name was run")
	}
	if len(b.Faults) == 0 {
		t.Error("the policy did not refuse it")
	}
}

// TestPlace: of what is shown again, panels that are unchanged are kept, with what was typed in
// them; one that is replaced has its chart and the focus at once; and the room for a chart is there before it
// is drawn.
func TestPlace(t *testing.T) {
	b := chromium.Start(t)
	b.Open(made(t, recorded(t, "static")), 1400, "light")
	var got []int
	b.Eval(`(() => {
		const box = el("div", {}), chart = () => el("div", {}, drawn(50, (w, h) => svg("svg", { width: w, height: 50 })));
		document.getElementById("main").append(box);
		const found = [1, 2].flatMap(n => {
			place(box, [["same", 0, () => el("input", { value: n })], ["chart", n, chart]]);
			return [box.children.length, Number(box.querySelector("input").value), box.querySelectorAll("svg").length, box.lastChild.offsetHeight];
		});
		const typed = n => place(box, [["typed", n, () => el("div", {}, el("button", {}, "x"), el("input", { value: n }))]]);
		typed(1);
		box.querySelector("input").focus();
		typed(2);
		found.push(Number(document.activeElement.value));
		box.remove();
		return found;
	})()`, &got)
	if !slices.Equal(got, []int{2, 1, 0, 50, 2, 1, 1, 50, 2}) {
		t.Errorf("panels, text, charts and their height, twice, and what has the focus: %v", got)
	}
}

func TestSeveralRunsInChromium(t *testing.T) {
	b := chromium.Start(t)
	path := made(t, recorded(t, "select"), recorded(t, "weight"), recorded(t, "static"))
	for _, width := range []int{1500, 390} {
		b.Open(path, width, "dark")
		if got := b.Text("[data-panel=runs]"); !strings.Contains(got, "select\tless\tfinished: 12 steps") || !strings.Contains(got, "weight\tloss\tfinished: 8 steps") || !strings.Contains(got, "static\tstatic\t") {
			t.Errorf("%q", got)
		}
		if got := b.Text("[data-panel='curve loss'] .legend"); !strings.Contains(got, "select: loss") || !strings.Contains(got, "static: eval_loss") {
			t.Errorf("%q", got)
		}
		var wide int
		if b.Eval("document.documentElement.scrollWidth", &wide); wide > width {
			t.Errorf("%d pixels wide of %d", wide, width)
		}
		b.Screenshot(fmt.Sprint("several-", width))
		b.Clean()
	}
}

// TestAMillionRows: a page of 1 M rows and 60 selections of 20 000 is under 2 MB, and loads in
// under 2 s.
func TestAMillionRows(t *testing.T) {
	const rows, chosen, selections = 1_000_000, 20_000, 60
	dir := t.TempDir()
	add := func(name string, line any) []byte {
		raw, err := json.Marshal(line)
		if err != nil {
			t.Fatal(name, err)
		}
		return append(raw, '\n')
	}
	id := func(i int) data.ID { return data.ID{Dataset: "a data set with a name", Row: i} }
	run := record.Run{TrainType: "dynamic_select", Component: "less", Steps: selections, Pool: record.Pool{Rows: rows, Datasets: map[string]int{id(0).Dataset: rows}, Lengths: make([]int, 10)}, DatasetDir: dir}
	var info strings.Builder
	fmt.Fprintf(&info, `{%q: {"file_name": "d.jsonl"}}`, id(0).Dataset)
	var texts, picks, log strings.Builder
	long := strings.Repeat("words and 字 ", 200)
	for i := range 8000 { // the rows that are chosen, and longer than any page has room for
		fmt.Fprintf(&texts, "{\"instruction\": \"%d %s\", \"output\": %q}\n", i, long, long)
	}
	files := map[string]string{"dataset_info.json": info.String(), "d.jsonl": texts.String()}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run.Stamp([]string{filepath.Join(dir, "d.jsonl")})
	for i := range 1000 {
		run.Pool.Sample = append(run.Pool.Sample, id(i*7))
	}
	record1 := add("run", record.Line{Run: &run})
	for s := range selections {
		h := record.Histogram{Low: 0, High: 1, All: make([]int, 60), Chosen: make([]int, 60)}
		sel := record.Selection{Step: s, Update: s, Rows: chosen, Metric: "sim", Histogram: &h, Lengths: make([]int, 10)}
		for i := range 100 {
			sel.Passed = append(sel.Passed, record.Row{ID: id(7800 + i), Value: 0.5})
		}
		record1 = append(record1, add("selection", record.Line{Selection: &sel})...)
		for k := range chosen / 40 { // every 40th line: the page need not wait for the test to write them all
			row := (k*53 + s*997) % 7000
			fmt.Fprintf(&picks, "{\"step\": %d, \"update\": %d, \"rank\": %d, \"index\": %d, \"dataset\": %q, \"row\": %d, \"sim\": %v}\n", s, s, k, row, id(0).Dataset, row, 1/float64(k+2))
		}
		for k := range 2000 {
			fmt.Fprintf(&log, "{\"current_steps\": %d, \"loss\": %v, \"lr\": 0.001}\n", s*2000+k, 1+1/float64(k+1))
		}
	}
	for name, content := range map[string]string{record.Name: string(record1), "selected_rows.jsonl": picks.String(), "trainer_log.jsonl": log.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	path := made(t, dir)
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if stat.Size() > 2_000_000 {
		t.Errorf("%d bytes", stat.Size())
	}
	b := chromium.Start(t)
	fastest := time.Hour
	for range 3 { // the best of three: other tests run on the same cores
		started := time.Now()
		b.Open(path, 1400, "light")
		fastest = min(fastest, time.Since(started))
	}
	if fastest > 2*time.Second {
		t.Errorf("loaded in %v", fastest)
	}
	if got := b.Text("[data-panel=rows] .note"); !strings.Contains(got, "rows are shown: those chosen most") {
		t.Errorf("it does not say that not all rows are shown: %q", got)
	}
	if got := b.Text("[data-panel='curve loss']"); !strings.Contains(got, "of 120000 points") {
		t.Errorf("it does not say that not all points are drawn: %q", got)
	}
	b.Clean()
}

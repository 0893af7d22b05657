package board

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/report/chromium"
	"dataflex.dev/dataflex/algo/report/page"
)

// panels are the texts of the panels of a run, except those that only a board has.
const panels = `Object.fromEntries([...document.querySelectorAll("[data-panel]")].filter(e => !["board", "form"].includes(e.dataset.panel)).map(e => [e.dataset.panel, e.innerText]))`

// TestSamePage: the board shows the same about a run as the report.
func TestSamePage(t *testing.T) {
	dir := t.TempDir()
	names := []string{"doremi", "lego", "mix", "random", "reorder", "select", "static", "weight"}
	for _, name := range names {
		recorded(t, name, filepath.Join(dir, name))
	}
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	b := chromium.Start(t)
	for _, name := range names {
		path := filepath.Join(t.TempDir(), "page.html")
		if err := page.WriteRuns(context.Background(), path, []string{filepath.Join(s.dir, name)}); err != nil {
			t.Fatal(err)
		}
		var want, got map[string]string
		b.Open(path, 1400, "light")
		b.Eval(panels, &want)
		b.Open(s.base+"?run="+name, 1400, "light")
		b.Until(`document.getElementById("made").textContent === "live" && document.querySelectorAll(".runrow").length === 8`)
		b.Until(`document.querySelector("[data-panel=config]")`)
		b.Eval(panels, &got)
		for panel, text := range want {
			if got[panel] != text {
				t.Errorf("%s, %s: the board shows\n%s\nthe report\n%s", name, panel, got[panel], text)
			}
		}
		if len(got) != len(want) || len(got) < 6 {
			t.Errorf("%s: %d panels, in the report %d", name, len(got), len(want))
		}
		b.Clean()
	}
}

// TestHostileTextsInChromium: names of folders, rows, configurations and the output of a run
// are shown and have no effect; the page's own policy refuses everything else.
func TestHostileTextsInChromium(t *testing.T) {
	const hostile = `<img src=x onerror="document.title='owned'">`
	dir := t.TempDir()
	run := filepath.Join(dir, hostile)
	recorded(t, "select", run)
	for _, name := range []string{"report_data.jsonl"} {
		raw, err := os.ReadFile(filepath.Join(run, name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), "train_eval_similarity", `</script><script>document.title='owned'</script>`)
		if err := os.WriteFile(filepath.Join(run, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(run, "trainer_log.jsonl"), []byte(`{"current_steps": "`+"<b>"+`", "total_steps": 1}`+"\n{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := serve(t, Options{Dir: dir, Home: t.TempDir()})
	b := chromium.Start(t)
	b.Open(s.base, 1200, "dark")
	b.Until(`document.getElementById("made").textContent === "live"`)
	if got := b.Text(".runrow label"); !strings.Contains(got, hostile) {
		t.Errorf("the run's name: %q", got)
	}
	if got := b.Text("#main"); !strings.Contains(got, "trainer_log.jsonl:1") && !strings.Contains(got, "trainer_log.jsonl:2") {
		t.Errorf("a damaged log is not named:\n%.2000s", got)
	}
	b.Eval(`document.querySelector("[name=new]").click()`, nil)
	b.Until(`document.querySelector("[data-panel=form] .faults li")`)
	b.Eval(`document.querySelector(".faults").replaceChildren()`, nil)
	b.Set("[name=yaml]", "input", "stage: "+`'<img src=x onerror="document.title=1">'`+"\n"+`"<script>alert(1)</script>": 1`+"\n")
	b.Until(`document.querySelector("[data-panel=form] .faults li")`)
	if got := b.Text(".faults"); !strings.Contains(got, "<script>alert(1)</script>") || !strings.Contains(got, "<img src=x") {
		t.Errorf("the faults: %s", got)
	}
	var images, scripts int
	b.Eval("document.images.length", &images)
	b.Eval("document.scripts.length", &scripts)
	var title string
	b.Eval("document.title", &title)
	if images != 0 || scripts != 2 || title != "board – training report" {
		t.Errorf("%d images, %d scripts, title %q", images, scripts, title)
	}
	b.Clean()
	b.Eval(`(() => { const s = document.createElement("script"); try { s.append("document.title = 'owned'"); document.body.append(s); } catch (e) {} })()`, nil)
	b.Eval(`fetch("http://127.0.0.1:1/").catch(() => 0).then(() => 0)`, nil)
	b.Eval("document.title", &title)
	if title != "board – training report" || !slices.ContainsFunc(b.Faults, func(f string) bool { return strings.Contains(f, "connect-src") }) {
		t.Errorf("title %q; refused: %v", title, b.Faults)
	}
}

// TestFormInChromium: a field writes its line of the YAML, and the YAML fills the fields.
func TestFormInChromium(t *testing.T) {
	s := serve(t, Options{Dir: t.TempDir(), Home: t.TempDir()})
	b := chromium.Start(t)
	for _, theme := range []string{"light", "dark"} {
		b.Open(s.base, 1400, theme)
		b.Eval(`document.querySelector("[name=new]").click()`, nil)
		b.Until(`document.querySelector("#field-stage") && document.querySelector("#field-stage").value === "sft"`)
		b.Set("#field-stage", "change", "pt")
		b.Until(`document.querySelector("[name=yaml]").value.includes("\nstage: pt\n")`)
		b.Set("#field-lora_rank", "change", "many")
		b.Until(`document.querySelector("[name=yaml]").value.endsWith("\nlora_rank: many\n")`)
		b.Until(`document.querySelector("#field-lora_rank-fault").innerText.includes("expected a whole number")`)
		b.Until(`document.querySelector("#field-lora_rank").getAttribute("aria-invalid") === "true" && document.querySelector("#field-lora_rank").closest("details").open`)
		b.Screenshot("form-" + theme)
		b.Set("#field-lora_rank", "change", "16")
		b.Until(`document.querySelector("#field-lora_rank-fault").innerText === ""`)
		b.Set("[data-panel=form] [type=search]", "input", "lora_rank")
		var shown []string
		b.Eval(`[...document.querySelectorAll(".field")].filter(e => e.offsetParent).map(e => e.querySelector("label").innerText)`, &shown)
		if len(shown) == 0 || !slices.Contains(shown, "lora_rank") || slices.Contains(shown, "stage") {
			t.Errorf("found: %v", shown)
		}
		b.Set("[data-panel=form] [type=search]", "input", "")
		b.Clean()
	}
	b.Open(s.base, 390, "light")
	b.Eval(`document.querySelector("[name=new]").click()`, nil)
	b.Until(`document.querySelector("[data-panel=form] .faults li")`)
	var wide int
	if b.Eval("document.documentElement.scrollWidth", &wide); wide > 390 {
		t.Errorf("%d pixels wide on a phone of 390", wide)
	}
	b.Screenshot("form-phone")
	b.Clean()
}

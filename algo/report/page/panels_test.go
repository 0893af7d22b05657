package page

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/report/chromium"
)

// everyRun are the recorded runs: one of every train type, and of a mixer that weighs.
var everyRun = []string{"select", "random", "mix", "doremi", "weight", "reorder", "lego", "static"}

// apart reads a file of a recorded run without the page's code.
func apart(t *testing.T, dir, name string) (lines []map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l)
	}
	return lines
}

// history is the log of trainer_state.json.
func history(t *testing.T, dir string) (lines []map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "trainer_state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		Log []map[string]any `json:"log_history"`
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		t.Fatal(err)
	}
	return state.Log
}

// TestSpeed: tokens per second between two lines of the log are the difference of the tokens
// divided by that of the seconds not spent on selecting, evaluating or saving.
func TestSpeed(t *testing.T) {
	for _, name := range everyRun {
		dir := recorded(t, name)
		want := map[float64]float64{}
		var tokens, training float64
		for _, l := range apart(t, dir, "report_data.jsonl") {
			s, ok := l["step"].(map[string]any)
			if !ok {
				continue
			}
			now := s["seconds"].(float64)
			for _, v := range s["phases"].(map[string]any) {
				now -= v.(float64)
			}
			if n := s["tokens"].(float64); n > tokens {
				want[s["step"].(float64)] = (n - tokens) / (now - training)
			}
			tokens, training = s["tokens"].(float64), now
		}
		r := loaded(t, dir)
		i := slices.IndexFunc(r.Curves, func(c Curve) bool { return c.Name == "tokens_per_second" })
		if i < 0 || len(r.Curves[i].X) != len(want) || len(want) != r.Steps {
			t.Fatalf("%s: %d points expected", name, len(want))
		}
		for k, x := range r.Curves[i].X {
			if y := r.Curves[i].Y[k]; math.Abs(y-want[x]) > 1e-6*want[x] {
				t.Errorf("%s, step %v: %v, not %v", name, x, y, want[x])
			}
		}
	}
}

// TestTimeByPhase: the logged times of selections and evaluations are within the phases, which
// together with training account for all the time; the overhead beyond them is at most a tenth,
// and 20 ms each.
func TestTimeByPhase(t *testing.T) {
	for _, name := range everyRun {
		dir := recorded(t, name)
		sum, pieces := map[string]float64{}, map[string]float64{}
		for _, h := range history(t, dir) {
			for key, phase := range map[string]string{"eval_runtime": "evaluating", "selection_runtime": "selecting"} {
				if v, ok := h[key].(float64); ok {
					sum[phase] += v
					pieces[phase]++
				}
			}
		}
		lines := apart(t, dir, "report_data.jsonl")
		last := lines[len(lines)-1]["step"].(map[string]any)
		r := loaded(t, dir)
		all, seen := 0.0, 0
		for _, p := range r.Time.Phases {
			if p.Name != "set-up" {
				all += p.Seconds
			}
			if want, ok := sum[p.Name]; ok {
				seen++
				if p.Seconds < want-1e-4*pieces[p.Name] || p.Seconds > 1.1*want+0.02*pieces[p.Name] {
					t.Errorf("%s, %s: %v s, the log says %v", name, p.Name, p.Seconds, want)
				}
			}
		}
		if seen != len(sum) || seen == 0 || math.Abs(all-last["seconds"].(float64)) > 1e-9 {
			t.Errorf("%s: phases %+v make %v s of %v", name, r.Time.Phases, all, last["seconds"])
		}
	}
}

// TestMemoryOfARecordedRun: weights and adapters are as large as the model's own files imply:
// four bytes a number, LoRA of rank 4 on every projection.
func TestMemoryOfARecordedRun(t *testing.T) {
	raw, err := os.ReadFile("../../../tools/dataflex-demo/model/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	n := int(raw[0]) | int(raw[1])<<8 | int(raw[2])<<16
	var header map[string]struct{ Shape []uint64 }
	if err := json.Unmarshal(raw[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	var weights, adapters uint64
	for name, tensor := range header {
		if name == "__metadata__" {
			continue
		}
		size := uint64(1)
		for _, d := range tensor.Shape {
			size *= d
		}
		weights += 4 * size
		if strings.HasSuffix(name, "_proj.weight") {
			adapters += 4 * 4 * (tensor.Shape[0] + tensor.Shape[1])
		}
	}
	for _, name := range everyRun {
		dir := recorded(t, name)
		r := loaded(t, dir)
		got := map[string]uint64{}
		var all uint64
		for _, p := range r.Memory.Parts {
			got[p.Name] = p.Bytes
			all += p.Bytes
		}
		if got["weights"] != weights || got["adapters"] != adapters || got["gradients"] != adapters || got["optimizer"] != 2*adapters || r.Memory.Planned != all {
			t.Errorf("%s: %v, of weights %d and adapters %d; %d planned", name, got, weights, adapters, r.Memory.Planned)
		}
		lines := apart(t, dir, "report_data.jsonl")
		last := lines[len(lines)-1]["step"].(map[string]any)
		if float64(r.Memory.Peak) != last["peak"] || r.Memory.Peak < weights {
			t.Errorf("%s: the process took %d, the log says %v", name, r.Memory.Peak, last["peak"])
		}
		held, _ := last["memory"].(map[string]any) // not in the oldest of these runs
		for _, p := range r.Time.Phases {
			if want, _ := held[p.Name].(float64); float64(p.Memory) != want || p.Memory > r.Memory.Peak {
				t.Errorf("%s, %s: %d bytes, not %v", name, p.Name, p.Memory, held[p.Name])
			}
		}
	}
}

// TestOrderOfARecordedRun: the rows of two passes of folding, by the scores of their own
// column.
func TestOrderOfARecordedRun(t *testing.T) {
	r, want := loaded(t, recorded(t, "reorder")), expectedOf(t, "reorder").Order
	c := r.Choice.Order
	if c == nil || len(c.X) != 96 || len(want) != 96 {
		t.Fatalf("%+v; %d points expected", c, len(want))
	}
	for i, p := range want {
		if math.Abs(c.X[i]-p[0]) > 1e-9 || c.Y[i] != p[1] {
			t.Errorf("point %d: %v at %v, not %v", i, c.Y[i], c.X[i], p)
		}
	}
	if s := r.Choice.Selections; len(s) != 2 || s[1].Step != 12 || s[1].Overlap != 48 || s[1].New != 0 || r.Choice.Distinct != 48 || r.Choice.Choices != 96 {
		t.Errorf("two passes over 48 rows: %+v", r.Choice)
	}
	// A pipeline whose rows are sorted within each of its decisions.
	c, want = loaded(t, recorded(t, "lego")).Choice.Order, expectedOf(t, "lego").Order
	if c == nil || len(c.X) != len(want) || len(want) < 20 {
		t.Fatalf("%+v; %d points expected", c, len(want))
	}
	for i, p := range want {
		if math.Abs(c.X[i]-p[0]) > 1e-9 || c.Y[i] != p[1] {
			t.Errorf("pipeline, point %d: %v at %v, not %v", i, c.Y[i], c.X[i], p)
		}
	}
	if o := loaded(t, recorded(t, "select")).Choice.Order; o != nil {
		t.Error("a selection has an order")
	}
}

// TestLedgerOfARecordedRun: the ledger at the end of the run, and what must hold for two whole
// passes.
func TestLedgerOfARecordedRun(t *testing.T) {
	for _, name := range []string{"reorder", "lego"} {
		r, want := loaded(t, recorded(t, name)), expectedOf(t, name).Ledger
		d := r.Dealt
		if d == nil || d.Rows != want.Of || d.Once != want.Once || d.More != want.More || d.Most != want.Most || d.Never != want.Never || d.Dealt != 4*r.Steps || d.Never+d.Once+d.More != d.Rows {
			t.Errorf("%s: %+v, not %+v of %d steps of 4 rows", name, d, want, r.Steps)
		}
		if name == "reorder" && (d.More != 48 || d.Most != 2 || d.Dealt != 96) {
			t.Errorf("two passes over 48 rows: %+v", d)
		}
	}
}

// TestWeightsOfAMixer: DoReMi's weights in the loss are those of its own journal at the
// steps of its decisions.
func TestWeightsOfAMixer(t *testing.T) {
	r, journal := loaded(t, recorded(t, "doremi")), expectedOf(t, "doremi").Doremi.Journal
	w := r.Mixture.Weights
	if len(w) != 2 || w[0].Name != "add" || w[1].Name != "words" || len(w[0].X) != 3 {
		t.Fatalf("%+v", w)
	}
	for k, step := range w[0].X {
		if int(step) != 2*(k+1) {
			t.Errorf("decision %d is at step %v", k, step)
		}
		// A decision at step s is based on the steps before it, of which the journal's last is
		// s-1.
		for d := range w {
			if got, want := w[d].Y[k], journal[int(step)-1].Weights[d]; !near(got, want) {
				t.Errorf("step %v, %s: %v, not %v", step, w[d].Name, got, want)
			}
		}
	}
}

// TestOverlapOfRecordedRuns: two choices from one pool.
func TestOverlapOfRecordedRuns(t *testing.T) {
	runs, err := Load(context.Background(), []string{recorded(t, "select"), recorded(t, "random")})
	if err != nil {
		t.Fatal(err)
	}
	all, want := Overlaps(runs), expectedOf(t, "random").Overlap
	if len(all) != 1 || all[0].Rank == nil {
		t.Fatalf("%+v", all)
	}
	if o := all[0]; o.Both != want.Both || !near(o.Jaccard, want.Jaccard) || !near(o.Last, want.Last) || !near(*o.Rank, want.Rank) {
		t.Errorf("%+v (rank %v), not %+v", o, *o.Rank, want)
	}
}

// TestPanelsInChromium: the pictures have as many points, and the tooltips the same values, as
// the numbers computed independently.
func TestPanelsInChromium(t *testing.T) {
	b := chromium.Start(t)
	point := func(panel string, at float64) string {
		b.Eval(fmt.Sprintf(`(s => { const r = s.getBoundingClientRect(), lines = [...s.querySelectorAll("polyline")], xs = lines.flatMap(l => l.getAttribute("points").split(" ").map(p => Number(p.split(",")[0])));
			const low = Math.min(...xs), high = Math.max(...xs);
			s.dispatchEvent(new PointerEvent("pointermove", { clientX: r.left + low + %v * (high - low) })); })(document.querySelector(%q))`, at, fmt.Sprintf("[data-panel=%q] svg[role=img]", panel)), nil)
		return b.Text(fmt.Sprintf("[data-panel=%q] .readout", panel))
	}
	four := func(v float64) string {
		var s string
		b.Eval(fmt.Sprintf("num(%v)", v), &s)
		return s
	}
	for _, name := range everyRun {
		e := expectedOf(t, name)
		b.Open(made(t, recorded(t, name)), 1400, "light")
		for _, key := range []string{"loss", "learning_rate", "grad_norm"} {
			c := e.Curves[key]
			first, last := c[0], c[len(c)-1]
			if got := point("curve "+key, 0); !strings.Contains(got, fmt.Sprintf("step %v: ", first[0])) || !strings.Contains(got, four(first[1])) {
				t.Errorf("%s, %s begins with %q, not %v", name, key, got, first)
			}
			if got := point("curve "+key, 1); !strings.Contains(got, fmt.Sprintf("step %v: ", last[0])) || !strings.Contains(got, four(last[1])) {
				t.Errorf("%s, %s ends with %q, not %v", name, key, got, last)
			}
		}
		if evals := e.Curves["eval_loss"]; len(evals) > 0 {
			if got := point("curve loss", 1); !strings.Contains(got, "eval_loss "+four(evals[len(evals)-1][1])) {
				t.Errorf("%s: %q, not %v", name, got, evals)
			}
		}
		b.Clean()
		switch name {
		case "reorder":
			for at, p := range map[float64][2]float64{0: e.Order[0], 1: e.Order[95]} {
				if got := point("order", at); !strings.Contains(got, fmt.Sprintf("step %v: score %s", p[0], four(p[1]))) {
					t.Errorf("the order: %q, not %v", got, p)
				}
			}
			b.Screenshot("reorder-light")
		case "lego":
			l := e.Ledger
			if got := b.Text("[data-panel=ledger]"); !strings.Contains(got, fmt.Sprintf("once %d rows, %.1f %%", l.Once, 100*float64(l.Once)/48)) || !strings.Contains(got, fmt.Sprintf("never %d rows", l.Never)) || !strings.Contains(got, "44 samples of 48 rows") {
				t.Errorf("the ledger: %q, not %+v", got, l)
			}
			for _, panel := range []string{"order", "mixture shares", "mixture losses", "weights", "heavy", "selections"} {
				if got := b.Text(fmt.Sprintf("[data-panel=%q]", panel)); got == "(none)" {
					t.Errorf("a pipeline of all four has no panel %s", panel)
				}
			}
			b.Screenshot("lego-light")
		case "doremi":
			j := e.Doremi.Journal
			if got := point("mixture weights", 1); !strings.Contains(got, "add "+four(j[5].Weights[0])+", words "+four(j[5].Weights[1])) {
				t.Errorf("the mixer's weights: %q, not %v", got, j[5])
			}
		case "mix":
			j := e.Mix.ODM[len(e.Mix.ODM)-1]
			if got := point("mixture shares", 1); !strings.Contains(got, fmt.Sprintf("add %.1f %%", 100*j.Weights[0])) {
				t.Errorf("the mixer's shares: %q, not %v", got, j)
			}
		}
	}
	e := expectedOf(t, "random").Overlap
	b.Open(made(t, recorded(t, "select"), recorded(t, "random")), 1400, "light")
	if got, want := b.Text("[data-panel=overlap] tbody"), fmt.Sprintf("select\trandom\t%d\t%s\t%s\t%s", e.Both, four(e.Jaccard), four(e.Last), four(e.Rank)); got != want {
		t.Errorf("%q, not %q", got, want)
	}
	b.Clean()
}

package compare

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data"
)

// run writes a run over a pool of ten rows, with selections and evaluations.
func run(t *testing.T, dir, method string, selections [][]int, eval []float64) string {
	t.Helper()
	pool := record.Pool{Rows: 10, Datasets: map[string]int{"d": 10}, Lengths: make([]int, 10)}
	for i := range 10 {
		pool.Sample = append(pool.Sample, data.ID{Dataset: "d", Row: i})
	}
	lines := []record.Line{
		{Run: &record.Run{TrainType: "dynamic_select", Component: method, Steps: 4, Pool: pool, DatasetDir: dir}},
		{Step: &record.Step{Step: 4, Done: true}},
	}
	var records, picks, log strings.Builder
	for _, l := range lines {
		raw, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		records.Write(append(raw, '\n'))
	}
	for s, rows := range selections {
		for rank, row := range rows {
			fmt.Fprintf(&picks, "{\"step\": %d, \"update\": %d, \"rank\": %d, \"index\": %d, \"dataset\": \"d\", \"row\": %d}\n", s+1, s+1, rank, row, row)
		}
	}
	for i, loss := range eval {
		fmt.Fprintf(&log, "{\"current_steps\": %d, \"eval_loss\": %v}\n", 2*(i+1), loss)
	}
	final := fmt.Sprintf(`{"eval_loss": %v}`, eval[len(eval)-1])
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{record.Name: records.String(), "selected_rows.jsonl": picks.String(), "trainer_log.jsonl": log.String(), "eval_results.json": final} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestCompare(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	files, err := Write(t.Context(), out, []string{
		run(t, filepath.Join(dir, "less_1"), "less", [][]int{{0, 1, 4}, {0, 4, 0, 5}}, []float64{2.5, 1.25}),
		run(t, filepath.Join(dir, "=cmd|&%"), "random", [][]int{{0, 1, 3, 9}, {1, 4, 4, 9, 9}}, []float64{1.5, 1.75}),
		run(t, filepath.Join(dir, "less_2"), "less", [][]int{{2}}, []float64{2.25}),
	})
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text[filepath.Base(f)] = string(raw)
	}
	// Rank correlations: scipy.stats.spearmanr of how often each of the ten rows was
	// chosen; mean and deviation of 1.25 and 2.25 by hand.
	for name, want := range map[string]string{
		"runs.md": `| run | decides | steps | best eval loss | at step | final eval loss | choices | different rows |
|---|---|---|---|---|---|---|---|
| less_1 | less | 4 | 1.2500 | 4 | 1.2500 | 7 | 4 |
| =cmd\|&amp;% | random | 4 | 1.5000 | 2 | 1.7500 | 9 | 5 |
| less_2 | less | 4 | 2.2500 | 2 | 2.2500 | 1 | 1 |
| mean of 2, ± standard deviation | less |  |  |  | 1.7500 ± 0.7071 |  |  |
`,
		"overlap.csv": "run,and run,rows of both,Jaccard,\"Jaccard, last selections\",rank correlation\n" +
			"less_1,'=cmd|&%,3,0.5000,0.2000,0.3681\nless_1,less_2,0,0.0000,0.0000,-0.2625\n'=cmd|&%,less_2,0,0.0000,0.0000,-0.3116\n",
		"overlap.tex": `% \usepackage{booktabs}
\begin{table}
\caption{Similarity of the choices}
\begin{tabular}{llrrrr}
\toprule
run & and run & rows of both & Jaccard & Jaccard, last selections & rank correlation \\
\midrule
less\_1 & =cmd|\&\% & 3 & 0.5000 & 0.2000 & 0.3681 \\
less\_1 & less\_2 & 0 & 0.0000 & 0.0000 & -0.2625 \\
=cmd|\&\% & less\_2 & 0 & 0.0000 & 0.0000 & -0.3116 \\
\bottomrule
\end{tabular}
\end{table}
`,
	} {
		if text[name] != want {
			t.Errorf("%s:\n%s\nnot\n%s", name, text[name], want)
		}
	}
	for _, name := range []string{"eval_loss", "overlap"} {
		if _, err := png.Decode(strings.NewReader(text[name+".png"])); err != nil {
			t.Errorf("%s.png: %v", name, err)
		}
		d := xml.NewDecoder(strings.NewReader(text[name+".svg"]))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s.svg: %v", name, err)
			}
		}
	}
	for _, want := range []string{">less_1<", ">2.5<", ">step<"} {
		if !strings.Contains(text["eval_loss.svg"], want) {
			t.Errorf("eval_loss.svg has no %s", want)
		}
	}
	if !strings.Contains(text["comparison.html"], `"overlaps":[{"a":"less_1"`) || len(files) != 11 {
		t.Errorf("the page has no overlaps, or not all of %v", files)
	}
}

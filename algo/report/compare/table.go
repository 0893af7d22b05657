package compare

import (
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/algo/report/page"
)

// table is rows of cells; numbers are right-aligned.
type table struct {
	caption string
	head    []string
	rows    [][]string
	text    int // number of text columns, at the left
}

func number(v *float64) string {
	if v == nil {
		return "–"
	}
	return strconv.FormatFloat(*v, 'f', 4, 64)
}

// tables are the runs with their results and, where two or more made choices, the similarity of
// these. final are the runs' losses after training.
func tables(runs []*page.Run, final []*float64) []table {
	t := table{caption: "Runs", head: []string{"run", "decides", "steps", "best eval loss", "at step", "final eval loss", "choices", "different rows"}, text: 2}
	byMethod := map[string][]float64{}
	var methods []string
	for i, r := range runs {
		best, at := lowest(r)
		method := r.Method
		if method == "" {
			method = r.TrainType
		}
		choices, distinct := "–", "–"
		if r.Choice != nil {
			choices, distinct = strconv.Itoa(r.Choice.Choices), strconv.Itoa(r.Choice.Distinct)
		}
		t.rows = append(t.rows, []string{r.Name, method, strconv.Itoa(r.Steps), number(best), at, number(final[i]), choices, distinct})
		if final[i] != nil {
			if !slices.Contains(methods, method) {
				methods = append(methods, method)
			}
			byMethod[method] = append(byMethod[method], *final[i])
		}
	}
	for _, m := range methods {
		if n := len(byMethod[m]); n > 1 {
			mean, deviation := spread(byMethod[m])
			t.rows = append(t.rows, []string{fmt.Sprintf("mean of %d, ± standard deviation", n), m, "", "", "", fmt.Sprintf("%.4f ± %.4f", mean, deviation), "", ""})
		}
	}
	out := []table{t}
	o := table{caption: "Similarity of the choices", head: []string{"run", "and run", "rows of both", "Jaccard", "Jaccard, last selections", "rank correlation"}, text: 2}
	for _, x := range page.Overlaps(runs) {
		o.rows = append(o.rows, []string{x.A, x.B, strconv.Itoa(x.Both), number(&x.Jaccard), number(&x.Last), number(x.Rank)})
	}
	if len(o.rows) > 0 {
		out = append(out, o)
	}
	return out
}

// lowest is the best evaluation loss during training and its step.
func lowest(r *page.Run) (best *float64, step string) {
	step = "–"
	for _, c := range evaluations(r) {
		for i, y := range c.Y {
			if best == nil || y < *best {
				best, step = &y, strconv.FormatFloat(c.X[i], 'f', 0, 64)
			}
		}
	}
	return best, step
}

// spread is the mean and the sample standard deviation.
func spread(x []float64) (mean, deviation float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		deviation += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, math.Sqrt(deviation)
}

func (t table) markdown() string {
	var b strings.Builder
	report.WriteTable(&b, append([][]string{t.head}, t.rows...))
	return b.String()
}

func (t table) csv() string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	for _, r := range append([][]string{t.head}, t.rows...) {
		cells := slices.Clone(r)
		for i, c := range cells {
			if c == "–" {
				cells[i] = ""
			}
			// A spreadsheet would treat such a cell as a formula, and a name may come from
			// anyone.
			if i < t.text && c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
				cells[i] = "'" + c
			}
		}
		_ = w.Write(cells) // writing to a strings.Builder cannot fail
	}
	w.Flush()
	return b.String()
}

// latex is the table in the style of the booktabs package.
func (t table) latex() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%% \\usepackage{booktabs}\n\\begin{table}\n\\caption{%s}\n\\begin{tabular}{%s%s}\n\\toprule\n", t.caption, strings.Repeat("l", t.text), strings.Repeat("r", len(t.head)-t.text))
	line := func(cells []string) {
		out := make([]string, len(cells))
		for i, c := range cells {
			out[i] = latexText.Replace(c)
		}
		b.WriteString(strings.Join(out, " & ") + " \\\\\n")
	}
	line(t.head)
	b.WriteString("\\midrule\n")
	for _, r := range t.rows {
		line(r)
	}
	b.WriteString("\\bottomrule\n\\end{tabular}\n\\end{table}\n")
	return b.String()
}

var latexText = strings.NewReplacer(`\`, `\textbackslash{}`, "{", `\{`, "}", `\}`, "$", `\$`, "&", `\&`, "%", `\%`, "#", `\#`, "_", `\_`, "~", `\textasciitilde{}`, "^", `\textasciicircum{}`,
	"±", `$\pm$`, "–", "--", "\n", " ")

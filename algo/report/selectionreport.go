package report

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
)

// SelectionReportName is the file's name in the output folder.
const SelectionReportName = "selection_report.md"

// mostChosen is how many of the most frequently chosen rows the report names.
const mostChosen = 10

// WriteSelectionReport writes selection_report.md from selected_rows.jsonl alone. ok is false,
// and nothing is written, where no selection was made.
func WriteSelectionReport(dir string) (path string, ok bool, err error) {
	t := tally{rows: map[int]*chosen{}}
	if _, err := ReadPicks(dir, t.add); err != nil {
		return "", false, fmt.Errorf("selection report: %w", err)
	}
	if len(t.selections) == 0 {
		return "", false, nil
	}
	var b strings.Builder
	t.total(&b)
	t.perSelection(&b)
	t.shares(&b)
	t.scores(&b)
	path = filepath.Join(dir, SelectionReportName)
	err = storage.WriteFile(path, []byte(b.String()))
	return path, err == nil, err
}

// tally accumulates the selections for the report.
type tally struct {
	selections []summary
	rows       map[int]*chosen // by position in the pool
	previous   map[int]bool    // the last selection's rows
	datasets   []string        // in order of appearance
	metrics    []string
}

type chosen struct {
	data.ID
	times int
}

// summary is one selection's numbers.
type summary struct {
	step, update int
	rows         int            // choices; a row drawn twice counts twice
	distinct     int            // distinct rows
	overlap      int            // of these, also in the previous selection
	again        int            // of these, in any earlier selection
	share        map[string]int // choices by dataset
	quantiles    map[string]quantiles
}

func (t *tally) add(p *Picked) {
	s := summary{step: p.Step, update: p.Update, rows: len(p.Index), share: map[string]int{}, quantiles: map[string]quantiles{}}
	current := make(map[int]bool, len(p.Index))
	for i, index := range p.Index {
		set := p.Rows[i].Dataset
		if !slices.Contains(t.datasets, set) {
			t.datasets = append(t.datasets, set)
		}
		s.share[set]++
		if current[index] {
			continue
		}
		current[index] = true
		if t.previous[index] {
			s.overlap++
		}
		if t.rows[index] != nil {
			s.again++
		}
	}
	s.distinct = len(current)
	for i, index := range p.Index {
		if t.rows[index] == nil {
			t.rows[index] = &chosen{ID: p.Rows[i]}
		}
		t.rows[index].times++
	}
	for _, name := range p.Names {
		if !slices.Contains(t.metrics, name) {
			t.metrics = append(t.metrics, name)
		}
		s.quantiles[name] = measure(p.Metric[name])
	}
	t.selections, t.previous = append(t.selections, s), current
}

func (t *tally) total(b *strings.Builder) {
	choices := 0
	sum, distinct, times := map[string]int{}, map[string]int{}, map[int]int{}
	for _, s := range t.selections {
		choices += s.rows
		for set, n := range s.share {
			sum[set] += n
		}
	}
	for _, r := range t.rows {
		distinct[r.Dataset]++
		times[r.times]++
	}
	first, last := t.selections[0], t.selections[len(t.selections)-1]
	fmt.Fprintf(b, "# What was selected\n\nMade from %s: %d selections, from step %d to step %d; %d choices of %d different rows.\n\n",
		PicksName, len(t.selections), first.step, last.step, choices, len(t.rows))
	table := [][]string{{"dataset", "choices", "share", "different rows"}}
	for _, set := range t.datasets {
		table = append(table, []string{set, strconv.Itoa(sum[set]), percent(sum[set], choices), strconv.Itoa(distinct[set])})
	}
	table = append(table, []string{"all", strconv.Itoa(choices), percent(choices, choices), strconv.Itoa(len(t.rows))})
	WriteTable(b, table)

	b.WriteString("\n| times chosen | rows |\n|---|---|\n")
	for _, n := range slices.Sorted(maps.Keys(times)) {
		fmt.Fprintf(b, "| %d | %d |\n", n, times[n])
	}
	t.favourites(b)
}

// favourites names the most frequently chosen rows, where any was chosen twice.
func (t *tally) favourites(b *strings.Builder) {
	var often []*chosen
	for _, r := range t.rows {
		if r.times > 1 {
			often = append(often, r)
		}
	}
	if len(often) == 0 {
		return
	}
	slices.SortFunc(often, func(a, b *chosen) int {
		return cmp.Or(b.times-a.times, strings.Compare(a.Dataset, b.Dataset), a.Row-b.Row)
	})
	b.WriteString("\nChosen most (row: number in its dataset's files, from 0):\n\n")
	table := [][]string{{"dataset", "row", "times"}}
	for _, r := range often[:min(mostChosen, len(often))] {
		table = append(table, []string{r.Dataset, strconv.Itoa(r.Row), strconv.Itoa(r.times)})
	}
	WriteTable(b, table)
}

func (t *tally) perSelection(b *strings.Builder) {
	b.WriteString("\n## Each selection\n\n" +
		"rows: choices, where a row drawn twice counts twice. different: different rows; the columns after it count these.\n" +
		"as before: also in the selection just before. again: in any earlier selection. new: in none.\n\n")
	table := [][]string{{"step", "update", "rows", "different", "as before", "again", "new"}}
	for i, s := range t.selections {
		before := "–"
		if i > 0 {
			before = fmt.Sprintf("%d (%s)", s.overlap, percent(s.overlap, s.distinct))
		}
		table = append(table, []string{
			strconv.Itoa(s.step), strconv.Itoa(s.update), strconv.Itoa(s.rows), strconv.Itoa(s.distinct),
			before, fmt.Sprintf("%d (%s)", s.again, percent(s.again, s.distinct)), strconv.Itoa(s.distinct - s.again),
		})
	}
	WriteTable(b, table)
}

// shares shows the datasets' shares from selection to selection.
func (t *tally) shares(b *strings.Builder) {
	if len(t.datasets) < 2 {
		return
	}
	b.WriteString("\n## Share of each dataset\n\n")
	table := [][]string{append([]string{"step"}, t.datasets...)}
	for _, s := range t.selections {
		row := []string{strconv.Itoa(s.step)}
		for _, set := range t.datasets {
			row = append(row, fmt.Sprintf("%d (%s)", s.share[set], percent(s.share[set], s.rows)))
		}
		table = append(table, row)
	}
	WriteTable(b, table)
}

func (t *tally) scores(b *strings.Builder) {
	for _, name := range t.metrics {
		fmt.Fprintf(b, "\n## Scores of the selected rows: %s\n\n", markdown(name))
		table := [][]string{{"step", "lowest", "25 %", "median", "75 %", "highest", "mean", "NaN"}}
		for _, s := range t.selections {
			q, ok := s.quantiles[name]
			if !ok {
				continue
			}
			row := []string{strconv.Itoa(s.step)}
			for _, v := range append(q.at[:], q.mean) {
				if math.IsNaN(v) {
					row = append(row, "–")
				} else {
					row = append(row, strconv.FormatFloat(v, 'g', 6, 64))
				}
			}
			table = append(table, append(row, strconv.Itoa(q.invalid)))
		}
		WriteTable(b, table)
	}
}

// quantiles are quantiles of the finite and infinite values, NaN where there are none.
type quantiles struct {
	at      [5]float64 // minimum, quartiles, maximum; linear between neighbours
	mean    float64
	invalid int // NaN values
}

func measure(values []float64) quantiles {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	slices.Sort(sorted)
	q := quantiles{invalid: len(values) - len(sorted)}
	n := len(sorted)
	var sum float64
	for _, v := range sorted {
		sum += v
	}
	q.mean = sum / float64(n)
	for i := range q.at {
		if n == 0 {
			q.at[i] = math.NaN()
			continue
		}
		position := float64(i) / 4 * float64(n-1)
		lo := int(position)
		q.at[i] = sorted[lo]
		if part := position - float64(lo); part > 0 && sorted[lo+1] != sorted[lo] { // the difference of equal infinities is NaN
			q.at[i] += part * (sorted[lo+1] - sorted[lo])
		}
	}
	return q
}

func percent(n, of int) string {
	return strconv.FormatFloat(100*float64(n)/float64(max(of, 1)), 'f', 1, 64) + " %"
}

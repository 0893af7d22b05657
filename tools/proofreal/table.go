package main

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// column is a column of a table: a value of the cells, with its format. A time only counts
// where nothing else ran on the machine.
type column struct {
	title, value, format string
	time                 bool
}

// questions are the tables, by the first part of the cells' names.
var questions = []struct {
	name, head, first string
	columns           []column
}{
	{"select", "Rows chosen after a warm-up, equal steps", "selector", []column{
		{"share of the target's kind", "precision", "%.2f", false},
		{"length of a chosen row, of the pool's", "length", "%.2f", false},
		{"target's loss, held out", "target loss", "%.4f", false},
		{"minus random's, by seed", "target loss" + besideRandom, "%+.4f", false},
		{"the others' loss, held out", "rest loss", "%.4f", false},
		{"minus random's, by seed", "rest loss" + besideRandom, "%+.4f", false},
		{"seconds", "seconds", "%.0f", true},
		{"of them selecting", "selecting", "%.0f", true},
		{"rows/s of a selection", "rows per second", "%.2f", true},
		{"tokens/s", "tokens per second", "%.0f", true},
	}},
	{"select-time", "Random rows for as long as the selector's run took", "selector", []column{
		{"steps", "steps", "%.0f", false},
		{"target's loss, held out", "target loss", "%.4f", false},
		{"the others' loss, held out", "rest loss", "%.4f", false},
	}},
	{"noise", "Three of ten answers spoilt", "weighter, noise", []column{
		{"target's loss, held out", "target loss", "%.4f", false},
		{"the others' loss, held out", "rest loss", "%.4f", false},
		{"seconds", "seconds", "%.0f", true},
	}},
	{"mix", "Texts of several domains", "mixer", []column{
		{"worst perplexity of a domain", "worst perplexity", "%.2f", false},
		{"mean", "mean perplexity", "%.2f", false},
		{"seconds", "seconds", "%.0f", true},
	}},
	{"lds", "Rank correlation of predicted and measured losses (LDS), the demo's model", "scores", []column{
		{"LDS", "lds", "%.2f", false},
		{"95 % from", "low", "%.2f", false},
		{"to", "high", "%.2f", false},
	}},
}

// tables are the medians and ranges over the seeds of the cells that have run.
func tables(s *store, cells []cell) (string, error) {
	var b strings.Builder
	for _, q := range questions {
		lines, err := linesOf(s, cells, q.name)
		if err != nil {
			return "", err
		}
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s:\n\n| %s |", q.head, q.first)
		for _, c := range q.columns {
			fmt.Fprintf(&b, " %s |", c.title)
		}
		b.WriteString("\n|" + strings.Repeat("---|", 1+len(q.columns)) + "\n")
		for _, l := range lines {
			fmt.Fprintf(&b, "| %s |", l.name)
			for _, c := range q.columns {
				fmt.Fprintf(&b, " %s |", l.cell(c))
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	where, err := circumstances(s, cells)
	return b.String() + where, err
}

// line is a method's results, one a seed.
type line struct {
	name    string
	results []result
}

func linesOf(s *store, cells []cell, question string) ([]*line, error) {
	var out []*line
	for _, c := range cells {
		parts := strings.Split(c.id, "/")
		if parts[0] != question || parts[1] == "halves" || !s.has(c.id) {
			continue
		}
		r, err := s.read(c.id)
		if err != nil {
			return nil, err
		}
		if question == "select" && parts[1] != "random" {
			s.compare(&r, selectPrefix+"random/"+parts[2])
		}
		at := slices.IndexFunc(out, func(l *line) bool { return l.name == parts[1] })
		if at < 0 {
			at, out = len(out), append(out, &line{name: parts[1]})
		}
		out[at].results = append(out[at].results, r)
	}
	return out, nil
}

// besideRandom ends the name of a value less that of random rows with the same seed: seeds
// draw other rows, whose losses differ by more than methods do.
const besideRandom = " beside random"

// compare adds a result's losses less those of another cell, if that has run.
func (s *store) compare(r *result, with string) {
	other, ok := s.results[s.key(with)]
	if !ok {
		return
	}
	values := maps.Clone(r.Values)
	for _, name := range []string{"target loss", "rest loss"} {
		if loss, ok := r.Values[name]; ok {
			values[name+besideRandom] = loss - other.Values[name]
		}
	}
	r.Values = values
}

// cell formats the median over the seeds, with the range where there are several.
func (l *line) cell(c column) string {
	x := l.values(c)
	if len(x) == 0 {
		return "–"
	}
	if len(x) == 1 {
		return fmt.Sprintf(c.format, x[0])
	}
	return fmt.Sprintf(c.format+" ("+c.format+" to "+c.format+")", median(x), x[0], x[len(x)-1])
}

// circumstances describe when and where the cells ran, and which have not.
func circumstances(s *store, cells []cell) (string, error) {
	var first, last, machines []string
	missing, busy := 0, 0
	for _, c := range cells {
		if !s.has(c.id) {
			missing++
			continue
		}
		r, err := s.read(c.id)
		if err != nil {
			return "", err
		}
		if first, last = append(first, r.When), append(last, r.When); !r.idle() {
			busy++
		}
		if !slices.Contains(machines, r.Machine) {
			machines = append(machines, r.Machine)
		}
	}
	if len(first) == 0 {
		return "", nil
	}
	slices.Sort(machines)
	text := fmt.Sprintf("%d cells, %s to %s; %s", len(first), slices.Min(first), slices.Max(last), cmp.Or(machines[0], "?"))
	if n := len(machines); n > 1 {
		text += fmt.Sprintf(" … %s", machines[n-1])
	}
	if busy > 0 {
		text += fmt.Sprintf("; %d of them beside other work, whose times are left out", busy)
	}
	if missing > 0 {
		text += fmt.Sprintf("; %d cells have not run", missing)
	}
	return text + ".\n", nil
}

// The markers in a file between which the tables are written.
const begin, end = "<!-- proof-real -->\n", "<!-- /proof-real -->"

func putBetweenMarks(path, text string) error {
	raw, err := storage.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(raw), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no marks %s … %s", filepath.Base(path), strings.TrimSpace(begin), end)
	}
	return storage.WriteFile(path, []byte(before+begin+text+end+after))
}

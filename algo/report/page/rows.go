package page

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
)

// Row is a row that the page shows.
type Row struct {
	data.ID
	Kinds  []string `json:"kinds"`            // chosen, passed over, heavy, light, duplicate
	Times  int      `json:"times,omitempty"`  // how often chosen
	Steps  []int    `json:"steps,omitempty"`  // of the selections that chose it
	Score  *float64 `json:"score,omitempty"`  // in the last of these, or at the end where the row was passed over
	Rank   *int     `json:"rank,omitempty"`   // the best rank in the order of choice, from 0
	Weight *float64 `json:"weight,omitempty"` // the most extreme one
	Prompt string   `json:"prompt,omitempty"`
	Answer string   `json:"answer,omitempty"`
	Cut    int      `json:"cut,omitempty"`    // characters that are not shown
	Length int      `json:"length,omitempty"` // characters
	Script string   `json:"script,omitempty"`
	File   string   `json:"file,omitempty"`  // address of the data file, or of the folder of several
	Group  int      `json:"group,omitempty"` // of Run.Duplicates, from 1
}

// Group is rows with the same text, ignoring white space and case.
type Group struct {
	Rows []data.ID `json:"rows"`
	More int       `json:"more,omitempty"` // rows not named
	Text string    `json:"text"`           // the beginning of the text
}

// Limits of a page, shared by its runs: beyond them rows are sampled, and the page says so.
const (
	rowsShown  = 1000
	textBytes  = 900 << 10
	textsRead  = 5000 // chosen rows whose texts are compared
	stepsNamed = 30   // of a row
)

// text is the text of a row.
type text struct{ prompt, answer string }

// addRows collects the rows to show, with their texts from the data files.
func (r *Run) addRows(ctx context.Context, runs int) error {
	if r.facts == nil {
		return nil
	}
	chosen := r.chosenRows()
	shown := r.special()
	told := len(shown) + len(chosen) // rows that were passed over were not chosen
	shown = r.withChosen(shown, chosen, rowsShown/runs)
	asked := slices.Clone(r.facts.Pool.Sample)
	var compared []data.ID
	for _, i := range spread(len(chosen), textsRead) {
		compared = append(compared, chosen[i].ID)
	}
	asked = append(asked, compared...)
	for _, row := range shown {
		asked = append(asked, row.ID)
	}
	texts, files, err := r.texts(ctx, asked)
	if err != nil {
		return err
	}
	r.noteRows(len(shown), told, len(chosen))
	group := r.findDuplicates(compared, texts)
	room := max(120, min(4000, textBytes/runs/max(len(shown), 1)))
	for i := range shown {
		row := &shown[i]
		if g := group[row.ID]; g > 0 {
			row.Kinds, row.Group = append(row.Kinds, "duplicate"), g
		}
		row.File = files[row.Dataset]
		if t, ok := texts[row.ID]; ok {
			row.fill(t, room)
		}
	}
	r.Rows = shown
	r.shareByScript(texts)
	return nil
}

// noteRows notes which of the rows the page does not show.
func (r *Run) noteRows(shown, told, chosen int) {
	if shown < told {
		r.RowsNote = fmt.Sprintf("%d of %d rows are shown: those chosen most often, and others spread evenly over the rest.", shown, told)
	}
	if r.facts.Pool.Packed {
		r.RowsNote += " Rows are packed: the text of the first row in each is shown."
	}
	if chosen > textsRead {
		r.RowsNote += fmt.Sprintf(" Duplicates are searched among %d of the chosen rows.", textsRead)
	}
}

// chosenRow is a row that was chosen. There can be a million of them.
type chosenRow struct {
	data.ID
	times, rank int32 // the best rank
}

// chosenRows are the distinct rows that were chosen, in the order of their first choice.
func (r *Run) chosenRows() []chosenRow {
	at := map[data.ID]int32{}
	var rows []chosenRow
	for _, p := range r.picks {
		for rank, id := range p.Rows {
			i, ok := at[id]
			if !ok {
				i, at[id] = int32(len(rows)), int32(len(rows))
				rows = append(rows, chosenRow{ID: id, rank: int32(rank)})
			}
			rows[i].times++
			rows[i].rank = min(rows[i].rank, int32(rank))
		}
	}
	return rows
}

// special are the rows that were passed over or have extreme weights.
func (r *Run) special() (rows []Row) {
	row := func(id data.ID, kind string) *Row {
		i := slices.IndexFunc(rows, func(x Row) bool { return x.ID == id })
		if i < 0 {
			i, rows = len(rows), append(rows, Row{ID: id})
		}
		if x := &rows[i]; !slices.Contains(x.Kinds, kind) {
			x.Kinds = append(x.Kinds, kind)
		}
		return &rows[i]
	}
	if r.Choice != nil {
		for _, p := range r.Choice.Passed {
			row(p.ID, "passed over").Score = &p.Score
		}
	}
	if r.Weights != nil {
		for _, w := range r.Weights.Heavy {
			row(w.ID, "heavy").Weight = &w.Weight
		}
		for _, w := range r.Weights.Light {
			row(w.ID, "light").Weight = &w.Weight
		}
	}
	return rows
}

// withChosen puts chosen rows before the special ones, up to most: in the order of choice where
// there is room for all, otherwise half of the room for those chosen most often and half for
// others spread over the rest.
func (r *Run) withChosen(special []Row, chosen []chosenRow, most int) []Row {
	if room := max(most-len(special), 2); len(chosen) > room {
		sorted := slices.Clone(chosen)
		slices.SortStableFunc(sorted, func(a, b chosenRow) int { return cmp.Or(cmp.Compare(b.times, a.times), cmp.Compare(a.rank, b.rank)) })
		rest := sorted[room/2:]
		chosen = slices.Clone(sorted[:room/2])
		for _, i := range spread(len(rest), room-room/2) {
			chosen = append(chosen, rest[i])
		}
	}
	rows := make([]Row, 0, len(chosen)+len(special))
	at := map[data.ID]int{}
	for _, c := range chosen {
		rank := int(c.rank)
		at[c.ID] = len(rows)
		rows = append(rows, Row{ID: c.ID, Kinds: []string{"chosen"}, Times: int(c.times), Rank: &rank})
	}
	for _, x := range special {
		if i, ok := at[x.ID]; ok {
			rows[i].Kinds, rows[i].Weight = append(rows[i].Kinds, x.Kinds...), x.Weight
		} else {
			rows = append(rows, x)
		}
	}
	for _, p := range r.picks {
		score := p.Metric[r.Choice.Metric]
		for rank, id := range p.Rows {
			i, ok := at[id]
			if !ok {
				continue
			}
			x := &rows[i]
			if len(x.Steps) < stepsNamed && !slices.Contains(x.Steps, p.Step) {
				x.Steps = append(x.Steps, p.Step)
			}
			if rank < len(score) && isNumber(score[rank]) {
				x.Score = &score[rank]
			}
		}
	}
	return rows
}

// texts reads rows' texts from the data files. A data set whose files are missing or have
// changed has none, which a note reports. files are addresses, by data set.
func (r *Run) texts(ctx context.Context, ids []data.ID) (texts map[data.ID]text, files map[string]string, err error) {
	texts, files = map[data.ID]text{}, map[string]string{}
	catalog, err := dataset.OpenCatalog(r.facts.DatasetDir, r.facts.DatasetInfo)
	if err != nil {
		r.Notes = append(r.Notes, "The rows' texts are not shown: "+err.Error())
		return texts, files, nil
	}
	bySet := map[string][]data.ID{}
	for _, id := range ids {
		bySet[id.Dataset] = append(bySet[id.Dataset], id)
	}
	for set, ids := range bySet {
		source, err := catalog.Source(set)
		if err != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("The texts of %s are not shown: %v", set, err))
			continue
		}
		files[set] = address(source.Files())
		changed := slices.ContainsFunc(source.Files(), func(f string) bool { return !r.facts.Unchanged(f) })
		if changed {
			r.Notes = append(r.Notes, fmt.Sprintf("The texts of %s are not shown: its files have changed since training started.", set))
			continue
		}
		slices.SortFunc(ids, func(a, b data.ID) int { return a.Row - b.Row })
		ids = slices.Compact(ids)
		samples, err := dataset.Find(ctx, catalog, ids, 0)
		if errors.Is(err, context.Canceled) {
			return nil, nil, err
		}
		if err != nil {
			r.Notes = append(r.Notes, fmt.Sprintf("The texts of %s are not shown: %v", set, err))
			continue
		}
		for i, s := range samples {
			texts[ids[i]] = text{prompt: words(s.System, s.Prompt), answer: words("", s.Response)}
		}
	}
	slices.Sort(r.Notes)
	return texts, files, nil
}

// words are messages as text: only the content where there is one, otherwise each after its
// role.
func words(system string, messages []data.Message) string {
	if system == "" && len(messages) == 1 {
		return messages[0].Content
	}
	var b strings.Builder
	if system != "" {
		b.WriteString("system: " + system)
	}
	for _, m := range messages {
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		b.WriteString(string(m.Role) + ": " + m.Content)
	}
	return b.String()
}

// address is the address of a data set's file, or of the folder where there are several.
func address(files []string) string {
	if len(files) == 0 {
		return ""
	}
	path := files[0]
	if len(files) > 1 {
		path = filepath.Dir(path)
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	full = filepath.ToSlash(full)
	if !strings.HasPrefix(full, "/") {
		full = "/" + full // C:/…
	}
	return (&url.URL{Scheme: "file", Path: full}).String()
}

// fill sets a row's text, truncated to room bytes.
func (r *Row) fill(t text, room int) {
	r.Script = script(t.prompt + " " + t.answer)
	r.Length = len([]rune(t.prompt)) + len([]rune(t.answer))
	answer := min(len(t.answer), max(room/2, room-len(t.prompt)))
	r.Prompt, r.Answer = cut(t.prompt, room-answer), cut(t.answer, answer)
	r.Cut = r.Length - len([]rune(r.Prompt)) - len([]rune(r.Answer))
}

// cut is the start of a text, truncated between characters.
func cut(s string, bytes int) string {
	if len(s) <= bytes {
		return s
	}
	end := 0
	for i := range s {
		if i > bytes {
			break
		}
		end = i
	}
	return s[:end]
}

package page

import (
	"cmp"
	"hash/maphash"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"

	"dataflex.dev/dataflex/data"
)

func isNumber(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// scripts are the writing systems that the page distinguishes.
var scripts = []struct {
	name  string
	table *unicode.RangeTable
}{
	{"Latin", unicode.Latin},
	{"Han", unicode.Han},
	{"Japanese", unicode.Hiragana},
	{"Japanese", unicode.Katakana},
	{"Hangul", unicode.Hangul},
	{"Cyrillic", unicode.Cyrillic},
	{"Arabic", unicode.Arabic},
	{"Hebrew", unicode.Hebrew},
	{"Greek", unicode.Greek},
	{"Devanagari", unicode.Devanagari},
	{"Bengali", unicode.Bengali},
	{"Tamil", unicode.Tamil},
	{"Thai", unicode.Thai},
}

// script is the writing system of most of a text's letters: "none" where it has no letters. A
// text with kana is Japanese, whatever Han characters it has.
func script(s string) string {
	count := map[string]int{}
	for _, r := range s {
		if r < 0x80 {
			if r|0x20 >= 'a' && r|0x20 <= 'z' {
				count["Latin"]++
			}
			continue
		}
		if !unicode.IsLetter(r) && !unicode.IsMark(r) {
			continue
		}
		name := "other"
		for _, x := range scripts {
			if unicode.Is(x.table, r) {
				name = x.name
				break
			}
		}
		count[name]++
	}
	if count["Japanese"] > 0 {
		count["Japanese"] += count["Han"]
	}
	best := "none"
	for _, name := range slices.Sorted(maps.Keys(count)) {
		if count[name] > count[best] {
			best = name
		}
	}
	return best
}

// shareByScript compares the scripts of the chosen rows with those of the sample of the pool.
func (r *Run) shareByScript(texts map[data.ID]text) {
	if r.Choice == nil || len(texts) == 0 {
		return
	}
	of := map[data.ID]string{}
	for id, t := range texts {
		of[id] = script(t.prompt + " " + t.answer)
	}
	all, chosen, last := map[string]int{}, map[string]int{}, map[string]int{}
	for _, id := range r.facts.Pool.Sample {
		if s, ok := of[id]; ok {
			all[s]++
		}
	}
	for i, p := range r.picks {
		for _, id := range p.Rows {
			if s, ok := of[id]; ok {
				chosen[s]++
				if i+1 == len(r.picks) {
					last[s]++
				}
			}
		}
	}
	names := slices.Sorted(maps.Keys(all))
	for _, n := range slices.Sorted(maps.Keys(chosen)) {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	s := classes("language script", names, all, chosen, last)
	if len(r.facts.Pool.Sample) < r.facts.Pool.Rows {
		s.Note = "of all rows: a sample spread evenly over them"
	}
	r.Choice.addShare(s)
}

// plain is a text in lower case with white space collapsed to single spaces.
func plain(s string) string { return strings.ToLower(strings.Join(strings.Fields(s), " ")) }

// Limits of the groups of duplicates that a page names.
const (
	groupsNamed  = 60
	membersNamed = 12
	groupStart   = 160 // bytes
)

// findDuplicates groups rows of equal text, and returns the group of each row, from 1.
func (r *Run) findDuplicates(rows []data.ID, texts map[data.ID]text) map[data.ID]int {
	seed := maphash.MakeSeed()
	groups := map[uint64][]data.ID{}
	var order []uint64
	for _, id := range rows {
		t, ok := texts[id]
		if !ok {
			continue
		}
		h := maphash.String(seed, plain(t.prompt)+"\x00"+plain(t.answer))
		if groups[h] = append(groups[h], id); len(groups[h]) == 2 {
			order = append(order, h)
		}
	}
	slices.SortStableFunc(order, func(a, b uint64) int { return cmp.Compare(len(groups[b]), len(groups[a])) })
	of := map[data.ID]int{}
	for n, h := range order {
		slices.SortFunc(groups[h], func(a, b data.ID) int { return cmp.Or(strings.Compare(a.Dataset, b.Dataset), a.Row-b.Row) })
		for _, id := range groups[h] {
			of[id] = n + 1
		}
		if n < groupsNamed {
			g := Group{Rows: groups[h], Text: cut(texts[groups[h][0]].prompt, groupStart)}
			if len(g.Rows) > membersNamed {
				g.More, g.Rows = len(g.Rows)-membersNamed, g.Rows[:membersNamed]
			}
			r.Duplicates = append(r.Duplicates, g)
		}
	}
	return of
}

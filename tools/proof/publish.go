package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// measured is all results of the runs, as stored in trials.json.
type measured struct {
	Facts  string
	Trials map[string][]*trial // by experiment, one per seed
}

func (m measured) write(dir string) error {
	raw, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	return storage.WriteFile(filepath.Join(dir, "trials.json"), append(raw, '\n'))
}

func read(dir string) (m measured, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, "trials.json"))
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(raw, &m)
}

// tableOf formats verdicts as Markdown. The worst seed is the one closest to failing the claim;
// a rival's best is its lowest value.
func tableOf(verdicts []verdict) string {
	var b strings.Builder
	b.WriteString("| method | setting | measured | mean | worst seed | against | mean, best of it | |\n|---|---|---|---|---|---|---|---|\n")
	for _, v := range verdicts {
		against, theirs := "at least "+v.format(v.least), ""
		if v.below != "" {
			against, theirs = v.rival, v.format(v.rivalMean)+", "+v.format(v.rivalBest)
		}
		result := "wins in every seed"
		switch {
		case v.open && v.below == "" && v.least == 0:
			against, result = "–", "for comparison"
		case !v.won && v.open:
			result = "does not win"
		case !v.won:
			result = "**does not win**"
		}
		if v.why != "" {
			result += ": " + v.why
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", v.method, v.setting, v.what, v.format(v.mean), v.format(v.worst), against, theirs, result)
	}
	return b.String()
}

func (c claim) format(x float64) string {
	if c.percent {
		return fmt.Sprintf("%.0f %%", 100*x)
	}
	if x > 0 && x < 0.01 {
		return fmt.Sprintf("%.4f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

// publish writes table and pictures.
func publish(o options, chosen []experiment, trials map[string][]*trial, table string) error {
	if err := storage.WriteFile(filepath.Join(o.out, "table.md"), []byte(table)); err != nil {
		return err
	}
	for _, dir := range []string{o.out, o.pictures} {
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, e := range chosen {
			if e.draw == nil {
				continue
			}
			if err := e.draw(filepath.Join(dir, e.name+".png"), trials[e.name]); err != nil {
				return err
			}
		}
	}
	if o.workspace == "" {
		return nil
	}
	return between(o.workspace, table)
}

// between replaces the text between the markers of a file.
func between(path, text string) error {
	const first, last = "<!-- proof -->\n", "<!-- /proof -->"
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(raw), first)
	_, after, ok2 := strings.Cut(rest, last)
	if !ok || !ok2 {
		return errors.New(path + " has no <!-- proof --> and <!-- /proof --> around the table")
	}
	return storage.WriteFile(path, []byte(before+first+text+last+after))
}

// Package page makes selection_report.html: one file that shows what a run trained on
// and why, made of what the run leaves in its output folder. It needs no network and
// works from disk.
//
// A data set is text of strangers. It is embedded as JSON in an element that is not
// executed, with every < escaped, and shown as text alone; and the page's policy
// (Content-Security-Policy) runs no script but the one whose hash it names.
package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"path/filepath"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/storage"
)

// Name is the file's name in the output folder.
const Name = "selection_report.html"

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed charts.js
	chartsJS string
	//go:embed rows.js
	rowsJS string
	//go:embed panels.js
	panelsJS string

	pageTemplate = template.Must(template.New("page").Parse(pageHTML))
)

// document is what the page's script reads.
type document struct {
	Made     time.Time `json:"made"`
	Runs     []*Run    `json:"runs"`
	Overlaps []Overlap `json:"overlaps,omitempty"`
}

// Write makes the page of a run in its output folder.
func Write(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, Name)
	return path, WriteRuns(ctx, path, []string{dir})
}

// WriteRuns makes one page of several runs, side by side.
func WriteRuns(ctx context.Context, path string, dirs []string) error {
	runs, err := Load(ctx, dirs)
	if err != nil {
		return err
	}
	html, err := Render(runs)
	if err != nil {
		return err
	}
	return storage.WriteFile(path, html)
}

// Render is the page.
func Render(runs []*Run) ([]byte, error) {
	names := make([]string, len(runs))
	for i, r := range runs {
		names[i] = r.Name
	}
	body, err := json.Marshal(document{Made: time.Now().UTC(), Runs: runs, Overlaps: Overlaps(runs)}) // escapes <, > and & as \u003c
	if err != nil {
		return nil, fmt.Errorf("report page: %w", err)
	}
	script := chartsJS + rowsJS + panelsJS
	var b bytes.Buffer
	err = pageTemplate.Execute(&b, map[string]any{
		"Title":  strings.Join(names, ", "),
		"Policy": "default-src 'none'; script-src " + source(script) + "; style-src " + source(pageCSS) + "; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
		"Style":  template.CSS(pageCSS),
		"Script": template.JS(script),
		"Data":   template.JS(body),
	})
	if err != nil {
		return nil, fmt.Errorf("report page: %w", err)
	}
	return b.Bytes(), nil
}

// source names a script or a style by its hash.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

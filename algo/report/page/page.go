// Package page makes selection_report.html: one file that shows what a run trained on and why,
// made from the files in its output folder. It needs no network and works from disk.
//
// The text of a data set is untrusted. It is embedded as JSON in an element that is not
// executed, with every < escaped, and is only shown as text; the page's policy
// (Content-Security-Policy) allows no script except the one whose hash it contains.
package page

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
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
	//go:embed main.js
	mainJS string
)

// document is what the page's script reads.
type document struct {
	Made     time.Time `json:"made"`
	Runs     []*Run    `json:"runs"`
	Overlaps []Overlap `json:"overlaps,omitempty"`
	Live     any       `json:"live,omitempty"`
}

// Live is what a server adds to the page so that it is updated while runs train.
type Live struct {
	Data   any    // for the script: "live" in the page's document
	Script string // defines follow(main, document), which draws the page instead of show
	Style  string
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
	text, err := Render(runs)
	if err != nil {
		return err
	}
	return storage.WriteFile(path, text)
}

// Render is the page.
func Render(runs []*Run) ([]byte, error) {
	text, _, err := render(runs, nil)
	return text, err
}

// RenderLive is the page as a server sends it, with the policy to send as
// Content-Security-Policy: the page may only make requests to the server it came from.
func RenderLive(runs []*Run, live Live) (text []byte, policy string, err error) {
	return render(runs, &live)
}

func render(runs []*Run, live *Live) (text []byte, policy string, err error) {
	names := make([]string, len(runs))
	for i, r := range runs {
		names[i] = r.Name
	}
	doc := document{Made: time.Now().UTC(), Runs: runs, Overlaps: Overlaps(runs)}
	title, script, style, connect := strings.Join(names, ", "), chartsJS+rowsJS+panelsJS, pageCSS, ""
	if live != nil {
		doc.Live, title, script, style, connect = live.Data, "board", script+live.Script, style+live.Style, "connect-src 'self'; "
	}
	body, err := json.Marshal(doc) // also escapes <, > and & as \u003c
	if err != nil {
		return nil, "", fmt.Errorf("report page: %w", err)
	}
	script += mainJS
	policy = "default-src 'none'; script-src " + source(script) + "; style-src " + source(style) + "; " + connect + "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
	// Not html/template: it reaches methods by their names, for which the linker keeps every
	// method of a program. A replacer takes one pass, so that nothing in the data is a place.
	fill := strings.NewReplacer(
		"{{Title}}", html.EscapeString(title),
		"{{Policy}}", html.EscapeString(policy),
		"{{Style}}", style,
		"{{Script}}", script,
		"{{Data}}", string(body),
	)
	return []byte(fill.Replace(pageHTML)), policy, nil
}

// source is the hash of a script or style as a source expression of the policy.
func source(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

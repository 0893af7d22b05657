package board

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/yamlfile"
)

// Fault is an error in a configuration, with its field.
type Fault struct {
	Key  string `json:"key,omitempty"`  // "" = of no single key
	Line int    `json:"line,omitempty"` // of the text, from 1; 0 = of no single line
	Text string `json:"text"`
}

// checked is the result of checking a configuration.
type checked struct {
	Faults  []Fault           `json:"faults"`
	Notices []string          `json:"notices"`
	Values  map[string]string `json:"values"` // values as written, for the form
}

// field is a key in the form.
type field struct {
	Name    string   `json:"name"`
	Group   string   `json:"group"`
	Type    string   `json:"type"`
	Default string   `json:"default"`
	Choices []string `json:"choices,omitempty"`
	Help    string   `json:"help,omitempty"`
}

// keys are the fields of the form: every key that has an effect on training.
func (b *Board) keys(w http.ResponseWriter, _ *http.Request) error {
	var fields []field
	for _, k := range config.Keys() {
		if k.Status == config.Honoured && k.Group != "Export" {
			fields = append(fields, field{k.Name, k.Group, string(k.Type), k.Default, k.Choices, k.Help})
		}
	}
	return reply(w, http.StatusOK, fields)
}

// configuration is the content that the form sends.
type configuration struct {
	YAML  string `json:"yaml"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// check returns the faults of a configuration, as dataflex-cli check does.
func (b *Board) check(w http.ResponseWriter, r *http.Request) error {
	var c configuration
	if err := asked(r, &c); err != nil {
		return err
	}
	out, _, err := b.examine(r.Context(), c.YAML)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, out)
}

// examine checks a configuration; name is the run that it would start.
func (b *Board) examine(ctx context.Context, text string) (out checked, name string, err error) {
	b.checking.Lock()
	defer b.checking.Unlock()
	out = checked{Faults: []Fault{}, Notices: []string{}, Values: map[string]string{}}
	path := filepath.Join(b.home, "draft.yaml")
	if err := writePrivate(path, []byte(text)); err != nil {
		return out, "", err
	}
	root, err := yamlfile.Parse(path, []byte(text))
	if err == nil {
		for _, e := range root.Entries() {
			out.Values[e.Key] = shown(e.Value)
		}
	}
	faults, notices := b.options.Check(ctx, path)
	if err := ctx.Err(); err != nil {
		return out, "", err
	}
	if c, err := config.Load(path, nil); err == nil {
		if name, err = b.nameOf(c.Training.OutputDir); err != nil {
			faults = append(faults, c.Errorf("output_dir", "%w", err))
		}
	}
	for _, f := range faults {
		out.Faults = append(out.Faults, faultOf(f, path, root))
	}
	for _, n := range notices {
		out.Notices = append(out.Notices, strings.ReplaceAll(n, path, "the configuration"))
	}
	return out, name, nil
}

// keyed is an error message that begins with the key it is about.
var keyed = regexp.MustCompile(`^([a-z0-9_]+): `)

// faultOf finds the key that an error is about: by its line, or by the start of its message.
func faultOf(err error, path string, root *yamlfile.Value) Fault {
	f := Fault{Text: strings.ReplaceAll(err.Error(), path, "the configuration")}
	var at *yamlfile.Error
	if errors.As(err, &at) && at.Pos.File == path {
		f.Line, f.Text = at.Pos.Line, at.Err.Error()
		for _, e := range entries(root) {
			if f.Line > 0 && e.Pos.Line <= f.Line {
				f.Key = e.Key
			}
		}
	}
	if m := keyed.FindStringSubmatch(f.Text); m != nil && f.Key == "" && slices.ContainsFunc(config.Keys(), func(k config.Key) bool { return k.Name == m[1] }) {
		f.Key = m[1]
	}
	f.Text = strings.TrimPrefix(f.Text, f.Key+": ")
	return f
}

func entries(root *yamlfile.Value) []yamlfile.Entry {
	if root == nil {
		return nil
	}
	return root.Entries()
}

// nameOf is the name of the run with that output_dir; an error where the board would not show
// it.
func (b *Board) nameOf(out string) (string, error) {
	full, err := filepath.Abs(out)
	if err != nil {
		return "", err
	}
	// The folder need not exist yet: the part that does must not lead elsewhere.
	real, rest := full, ""
	for {
		if linked, err := filepath.EvalSymlinks(real); err == nil {
			real = filepath.Join(linked, rest)
			break
		}
		up := filepath.Dir(real)
		if up == real {
			break
		}
		real, rest = up, filepath.Join(filepath.Base(real), rest)
	}
	rel, err := filepath.Rel(b.dir, real)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return "", fmt.Errorf("the board only shows runs in %s: name a folder there, such as %s", b.dir, filepath.Join(b.dir, "new"))
	}
	rel = filepath.ToSlash(rel)
	for _, part := range strings.Split(rel, "/") {
		if strings.HasPrefix(part, ".") || strings.HasPrefix(part, storage.StepPrefix) {
			return "", fmt.Errorf("the board does not show folders whose names begin with %q or %s", ".", storage.StepPrefix)
		}
	}
	if strings.Count(rel, "/")+1 > deepest {
		return "", fmt.Errorf("the board looks at most %d folders deep: name one that is less deep", deepest)
	}
	return rel, nil
}

// edit sets one key in the text.
func (b *Board) edit(w http.ResponseWriter, r *http.Request) error {
	var c configuration
	if err := asked(r, &c); err != nil {
		return err
	}
	text, err := setKey(c.YAML, c.Key, c.Value)
	if err != nil {
		return refusal{http.StatusUnprocessableEntity, err.Error()}
	}
	return reply(w, http.StatusOK, configuration{YAML: text})
}

// start starts training with a valid configuration; for an invalid one it returns the faults.
func (b *Board) start(w http.ResponseWriter, r *http.Request) error {
	var c configuration
	if err := asked(r, &c); err != nil {
		return err
	}
	out, name, err := b.examine(r.Context(), c.YAML)
	if err != nil {
		return err
	}
	if len(out.Faults) > 0 {
		return reply(w, http.StatusOK, out)
	}
	path, err := saveConfig(b.path(name), c.YAML)
	if err != nil {
		return refusal{http.StatusInternalServerError, err.Error()}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	j, err := b.launch(name, path)
	if err != nil {
		return refusal{http.StatusInternalServerError, err.Error()}
	}
	b.jobs = append(prune(b.jobs), j)
	b.options.Log.Info("a run was started", "run", name, "process", j.Process.PID, "configuration", path, "output", j.Log)
	return reply(w, http.StatusOK, map[string]string{"run": name, "job": j.ID, "config": path})
}

// saveConfig writes a configuration beside the run's folder, where the user finds it: as NAME.yaml,
// or with a number where that name is taken.
func saveConfig(out, text string) (string, error) {
	if err := storage.MkdirAll(filepath.Dir(out)); err != nil {
		return "", err
	}
	for n := 1; ; n++ {
		path := out + ".yaml"
		if n > 1 {
			path = fmt.Sprintf("%s-%d.yaml", out, n)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, os.ErrExist) {
			if raw, err := os.ReadFile(path); err == nil && string(raw) == text {
				return path, nil
			}
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(text)
		return path, errors.Join(err, f.Close())
	}
}

// stop ends a run as Ctrl-C does, after saving, whoever started it.
func (b *Board) stop(w http.ResponseWriter, r *http.Request) error {
	var of struct {
		Run string `json:"run"`
	}
	if err := asked(r, &of); err != nil {
		return err
	}
	names := b.names()
	b.mu.Lock()
	defer b.mu.Unlock()
	started := slices.ContainsFunc(b.jobs, func(j *job) bool { return j.Run == of.Run })
	if !started && !slices.Contains(names, of.Run) {
		return refusal{http.StatusNotFound, "there is no such run"}
	}
	process, err := b.halt(of.Run)
	if err != nil {
		return err
	}
	b.options.Log.Info("a run was asked to save and end", "run", of.Run, "process", process)
	return reply(w, http.StatusOK, struct{}{})
}

// jobLog is the end of a run's output.
func (b *Board) jobLog(w http.ResponseWriter, r *http.Request) error {
	b.mu.Lock()
	i := slices.IndexFunc(b.jobs, func(j *job) bool { return j.ID == r.URL.Query().Get("job") })
	path := ""
	if i >= 0 {
		path = b.jobs[i].Log
	}
	b.mu.Unlock()
	if i < 0 {
		return refusal{http.StatusNotFound, "this run was not started by a board"}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for line := range lastLines(path) {
		if _, err := w.Write(line); err != nil {
			return nil // the page was closed
		}
	}
	return nil
}

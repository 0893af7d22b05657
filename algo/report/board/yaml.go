package board

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/yamlfile"
)

// draft is the form's initial text: that of a run, or the keys that a first run needs.
func (b *Board) draft(w http.ResponseWriter, r *http.Request) error {
	from := r.URL.Query().Get("from")
	text := "# A new run. The keys that are left out have their defaults.\nmodel_name_or_path:\ntemplate:\nstage: sft\ndo_train: true\nfinetuning_type: lora\nlora_target: all\n" +
		"dataset_dir: data\ndataset:\ncutoff_len: 1024\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 2\nlearning_rate: 1.0e-4\nnum_train_epochs: 1.0\n" +
		"logging_steps: 1\nsave_steps: 100\noutput_dir: " + scalar(filepath.Join(b.options.Dir, "new")) + "\n"
	if from != "" {
		if !slices.ContainsFunc(b.summaries(), func(s Summary) bool { return s.Name == from }) {
			return refusal{http.StatusNotFound, "there is no such run"}
		}
		var err error
		if text, err = b.configOf(from); err != nil {
			return refusal{http.StatusNotFound, err.Error()}
		}
	}
	return reply(w, http.StatusOK, configuration{YAML: text})
}

// configOf is the configuration of a run: the file from which it was started here, or what its
// report records, without secrets.
func (b *Board) configOf(name string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range slices.Backward(b.jobs) {
		if j.Run != name {
			continue
		}
		if raw, err := os.ReadFile(j.Config); err == nil {
			return string(raw), nil
		}
	}
	if err := b.checkInside(name); err != nil {
		return "", err
	}
	lines, err := record.Read(b.path(name))
	if err != nil {
		return "", err
	}
	for _, l := range slices.Backward(lines) {
		if l.Run != nil {
			return textOf(l.Run.Config), nil
		}
	}
	return "", errors.New("the configuration of this run is unknown: it has no " + record.Name)
}

// textOf writes keys and their values as YAML text.
func textOf(pairs [][2]string) string {
	var b strings.Builder
	for _, kv := range pairs {
		if strings.Contains(kv[1], "***") {
			fmt.Fprintf(&b, "# %s: a secret, which is not stored\n", kv[0])
			continue
		}
		fmt.Fprintf(&b, "%s: %s\n", kv[0], value(kv[0], kv[1]))
	}
	return b.String()
}

// shown is a value as shown in the form.
func shown(v *yamlfile.Value) string {
	switch v.Kind {
	case yamlfile.Null:
		return ""
	case yamlfile.String:
		return v.Str
	case yamlfile.List:
		var items []string
		for _, i := range v.Items {
			if i.Kind == yamlfile.List || i.Kind == yamlfile.Map || strings.Contains(shown(i), ",") {
				items = nil
				break
			}
			items = append(items, shown(i))
		}
		if items != nil {
			return strings.Join(items, ",")
		}
	case yamlfile.Bool, yamlfile.Int, yamlfile.Float:
		return v.Text
	}
	raw, err := json.Marshal(v.Any())
	if err != nil { // NaN and infinities
		return fmt.Sprint(v.Any())
	}
	return string(raw)
}

// value converts the text of a key's field to YAML.
func value(key, typed string) string {
	i := slices.IndexFunc(config.Keys(), func(k config.Key) bool { return k.Name == key })
	if i >= 0 {
		switch k := config.Keys()[i]; {
		case slices.Contains(k.Choices, typed):
			return scalar(typed)
		case k.Type == config.Bool || k.Type == config.Int || k.Type == config.Float:
			if simple.MatchString(typed) {
				return typed
			}
		case (k.Type == config.Map || k.Type == config.List || k.Type == config.Floats || k.Type == config.Mixed) && json.Valid([]byte(typed)):
			return typed
		case k.Type == config.Floats || k.Type == config.Mixed:
			if simple.MatchString(typed) {
				return typed
			}
		}
	}
	return scalar(typed)
}

// simple is text that needs no quotes in YAML.
var simple = regexp.MustCompile(`^[A-Za-z0-9_./~+-][A-Za-z0-9_./~+=@,-]*$`)

// scalar writes text as YAML, quoted where necessary.
func scalar(text string) string {
	if simple.MatchString(text) {
		if v, err := yamlfile.Parse("", []byte("v: "+text)); err == nil {
			if e, ok := v.Get("v"); ok && e.Value.Kind == yamlfile.String && e.Value.Str == text {
				return text
			}
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		panic(err) // marshalling a string cannot fail
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// setKey sets a key of a configuration, or removes it where the value is empty. All other
// lines, including comments, are unchanged.
func setKey(text, key, typed string) (string, error) {
	root, err := yamlfile.Parse("the configuration", []byte(text))
	if err != nil {
		return "", fmt.Errorf("the text is not valid, correct it first: %w", err)
	}
	lines := strings.SplitAfter(text, "\n")
	line := ""
	if typed != "" {
		line = key + ": " + value(key, typed)
	}
	all := root.Entries()
	i := slices.IndexFunc(all, func(e yamlfile.Entry) bool { return e.Key == key })
	if i < 0 {
		if line == "" {
			return text, nil
		}
		if len(text) > 0 && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return agree(text+line+"\n", root, key)
	}
	from := all[i].Pos.Line - 1
	to := from + 1
	for to < len(lines) && !isTop(lines[to]) {
		to++
	}
	// Comments and empty lines before the next key belong to that key.
	for to > from+1 && (strings.TrimSpace(lines[to-1]) == "" || strings.HasPrefix(strings.TrimSpace(lines[to-1]), "#")) {
		to--
	}
	if line != "" {
		if m := comment.FindStringSubmatch(strings.TrimRight(lines[from], "\n")); to == from+1 && m != nil {
			line += m[1]
		}
		line += "\n"
	}
	return agree(strings.Join(lines[:from], "")+line+strings.Join(lines[to:], ""), root, key)
}

// comment is a comment after an unquoted value.
var comment = regexp.MustCompile(`^[^"'#]*?(\s+#.*)$`)

// isTop reports whether a line begins an entry of the outermost map.
func isTop(line string) bool {
	return line != "" && !strings.ContainsAny(line[:1], " \t\r\n#") && !strings.HasPrefix(line, "- ") && strings.TrimSpace(line) != "-"
}

// agree refuses a text in which more than one key has changed: for example one in braces, or
// with anchors that are used elsewhere.
func agree(text string, before *yamlfile.Value, key string) (string, error) {
	after, err := yamlfile.Parse("the configuration", []byte(text))
	if err == nil {
		var x, y []string
		for _, e := range before.Entries() {
			if e.Key != key {
				x = append(x, e.Key+"="+shown(e.Value))
			}
		}
		for _, e := range after.Entries() {
			if e.Key != key {
				y = append(y, e.Key+"="+shown(e.Value))
			}
		}
		if slices.Equal(x, y) {
			return text, nil
		}
	}
	return "", errors.New("this text does not have one key per line: edit the text itself")
}

package hub

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// kinds of files that rows are read from, in order of preference where a folder has several.
var kinds = []string{"parquet", "jsonl", "json", "csv", "txt"}

// DataFiles lists the files of a data set's folder that hold a split, sorted by name, as
// Hugging Face datasets finds them: from the `configs` at the head of README.md if there are
// any (subset "" = default), else by "train", "test", … in the names of files and folders, else
// all of them as train. folder narrows it to a part of the repository.
func DataFiles(dir, subset, split, folder string) ([]string, error) {
	all, err := files(filepath.Join(dir, filepath.FromSlash(folder)))
	if err != nil {
		return nil, err
	}
	var found []string
	configs, err := readConfigs(filepath.Join(dir, "README.md"))
	if err != nil {
		return nil, err
	}
	c, named := configs.find(subset)
	switch {
	case named && folder == "" && c.splits != nil:
		patterns, ok := c.splits[split]
		if !ok {
			return nil, fmt.Errorf("%s has no split %s; there are %s", dir, split, strings.Join(slices.Sorted(maps.Keys(c.splits)), ", "))
		}
		found = matching(all, patterns)
	case subset != "" && !named && len(configs) > 0:
		return nil, fmt.Errorf("%s has no subset %s; there are %s", dir, subset, strings.Join(configs.names(), ", "))
	default:
		found = bySplit(under(all, subset), split)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no files of split %s", filepath.Join(dir, folder), split)
	}
	out := make([]string, len(found))
	for i, f := range found {
		out[i] = filepath.Join(dir, filepath.FromSlash(folder), filepath.FromSlash(f))
	}
	return out, nil
}

// files lists a folder's data files of one kind, sorted, with slashes.
func files(dir string) ([]string, error) {
	by := map[string][]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		name := strings.TrimSuffix(strings.TrimSuffix(d.Name(), ".gz"), ".zst")
		rel, err := filepath.Rel(dir, p)
		if kind := strings.TrimPrefix(path.Ext(name), "."); !d.IsDir() && d.Name() != "dataset_infos.json" && err == nil {
			by[kind] = append(by[kind], filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, k := range kinds {
		if by[k] != nil {
			return by[k], nil
		}
	}
	return nil, fmt.Errorf("%s has no data files: %s", dir, strings.Join(kinds, ", "))
}

// under are a subset's files: those in the folder of that name, or whose names begin with it.
func under(all []string, subset string) []string {
	if subset == "" {
		return all
	}
	var out []string
	for _, f := range all {
		if slices.Contains(strings.Split(path.Dir(f), "/"), subset) || strings.HasPrefix(path.Base(f), subset) {
			out = append(out, f)
		}
	}
	return out
}

// words are the names that splits go by in files and folders.
var words = map[string][]string{
	"train": {"train", "training"}, "validation": {"validation", "valid", "dev", "val"}, "test": {"test", "testing", "eval", "evaluation"},
}

func bySplit(all []string, split string) []string {
	by := map[string][]string{}
	for _, f := range all {
		for name, list := range words {
			word := regexp.MustCompile(`(?i)(^|[^a-z])(` + strings.Join(list, "|") + `)([^a-z]|$)`)
			if word.MatchString(f) {
				by[name] = append(by[name], f)
			}
		}
	}
	if len(by) == 0 && split == "train" {
		return all
	}
	if found := by[split]; found != nil {
		return found
	}
	word := regexp.MustCompile(`(^|[^A-Za-z])` + regexp.QuoteMeta(split) + `([^A-Za-z]|$)`)
	return slices.DeleteFunc(slices.Clone(all), func(f string) bool { return !word.MatchString(f) })
}

// configuration is one configuration of README.md: a subset and the patterns of its splits.
type configuration struct {
	name   string
	first  bool // `default: true`
	splits map[string][]string
}

type configurations []configuration

func (cs configurations) names() (out []string) {
	for _, c := range cs {
		out = append(out, c.name)
	}
	return out
}

// find is the configuration of a subset; "" = the one marked as default, the one called
// default, or the only one.
func (cs configurations) find(subset string) (configuration, bool) {
	for _, c := range cs {
		if c.name == subset || subset == "" && (c.first || c.name == "default" || len(cs) == 1) {
			return c, true
		}
	}
	return configuration{}, false
}

// readConfigs reads `configs` from the YAML front matter.
func readConfigs(file string) (configurations, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, nil //nolint:nilerr // a data set without a README has no configurations
	}
	head, ok := bytes.CutPrefix(text, []byte("---\n"))
	if !ok {
		return nil, nil
	}
	head, _, _ = bytes.Cut(head, []byte("\n---"))
	root, err := yamlfile.Parse(file, head)
	if err != nil {
		return nil, err
	}
	list, _ := root.Any().(map[string]any)
	entries, _ := list["configs"].([]any)
	var out configurations
	for _, e := range entries {
		m, _ := e.(map[string]any)
		name, _ := m["config_name"].(string)
		first, _ := m["default"].(bool)
		out = append(out, configuration{name: name, first: first, splits: splitsOf(m["data_files"])})
	}
	return out, nil
}

// splitsOf reads data_files: a pattern, several, or a list of {split, path}.
func splitsOf(v any) map[string][]string {
	out := map[string][]string{}
	var add func(split string, v any)
	add = func(split string, v any) {
		switch v := v.(type) {
		case string:
			out[split] = append(out[split], v)
		case []any:
			for _, x := range v {
				add(split, x)
			}
		case map[string]any:
			if name, ok := v["split"].(string); ok {
				add(name, v["path"])
			}
		}
	}
	add("train", v)
	if len(out) == 0 {
		return nil
	}
	return out
}

// matching are the files that match the patterns: * within a folder, ** across folders.
func matching(all, patterns []string) []string {
	var out []string
	for _, p := range patterns {
		expr := regexp.QuoteMeta(p)
		for _, r := range [][2]string{{`\*\*/`, `(.*/)?`}, {`\*\*`, `.*`}, {`\*`, `[^/]*`}, {`\?`, `[^/]`}} {
			expr = strings.ReplaceAll(expr, r[0], r[1])
		}
		fits := regexp.MustCompile("^" + expr + "$")
		for _, f := range all {
			if fits.MatchString(f) && !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	}
	return out
}

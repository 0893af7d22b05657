package hub

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/gguf"
)

// Model is the folder of a model, an adapter or any other repository of models: name itself
// where that is a folder, else the snapshot of revision ("" = main) in Hugging Face's cache
// (cache; "" = the one the environment names), else in ModelScope's; with USE_MODELSCOPE_HUB=1
// in the reverse order. A repository in neither is a *NotCached error; what cannot be a
// repository's name is an error saying that there is no such folder.
func Model(name, revision, cache string) (string, error) {
	if _, err := os.Stat(name); err == nil || name == "" {
		return name, nil
	}
	if gguf.Is(name) {
		return name, fmt.Errorf("there is no file %s", name)
	}
	if !IsName(name) {
		return name, fmt.Errorf("there is no folder %s, and it is not the name of a model on a hub (ORG/NAME)", name)
	}
	return find(Models, name, revision, cache)
}

// Dataset is the folder of a data set: like Model, for `datasets--*`. name may be the address
// of its page. With scope ModelScope's cache is searched first.
func Dataset(name, revision string, scope bool) (string, error) {
	for _, page := range []string{"https://huggingface.co/datasets/", "https://www.modelscope.cn/datasets/", "https://modelscope.cn/datasets/"} {
		name = strings.TrimSuffix(strings.TrimPrefix(name, page), "/")
	}
	if !IsName(name) {
		return name, fmt.Errorf("%q is not the name of a data set on a hub (ORG/NAME)", name)
	}
	if scope {
		if dir, ok := inModelScope(Datasets, name); ok {
			return dir, nil
		}
	}
	return find(Datasets, name, revision, "")
}

func find(kind Kind, name, revision, cache string) (string, error) {
	revision, cache = cmp.Or(revision, DefaultRevision), cmp.Or(expand(cache), Cache())
	scope := func() (string, bool) {
		if revision != DefaultRevision { // ModelScope keeps one revision and does not say which
			return "", false
		}
		return inModelScope(kind, name)
	}
	first := os.Getenv("USE_MODELSCOPE_HUB")
	if first == "1" || strings.EqualFold(first, "true") {
		if dir, ok := scope(); ok {
			return dir, nil
		}
	}
	dir, err := snapshot(repository(cache, kind, name), revision)
	if !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	if dir, ok := scope(); ok {
		return dir, nil
	}
	return name, &NotCached{Kind: kind, Name: name, Revision: revision, Cache: cache}
}

// snapshot is the folder of a revision: a branch or tag from refs/, or a commit, of which the
// first digits are enough. Where there is no refs/main, a single snapshot is used.
func snapshot(repo, revision string) (string, error) {
	commit := revision
	if !filepath.IsLocal(filepath.FromSlash(revision)) {
		return "", fmt.Errorf("%q is not a revision", revision)
	}
	text, err := os.ReadFile(filepath.Join(repo, "refs", filepath.FromSlash(revision)))
	if err == nil {
		commit = strings.TrimSpace(string(text))
	}
	entries, err := os.ReadDir(filepath.Join(repo, "snapshots"))
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), commit) && (len(commit) >= 7 || e.Name() == commit) || commit == DefaultRevision && len(entries) == 1 {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", fs.ErrNotExist
	case 1:
		return complete(filepath.Join(repo, "snapshots", found[0]))
	}
	return "", fmt.Errorf("%s has several snapshots that begin with %s: %s", repo, commit, strings.Join(found, ", "))
}

// complete refuses a snapshot with a dangling link, which is an interrupted download.
func complete(dir string) (string, error) {
	return dir, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type()&fs.ModeSymlink != 0 {
			if _, err := os.Stat(path); err != nil {
				return fmt.Errorf("%s is incomplete: %v; `dataflex-cli download %s` fetches what is missing", dir, err, NameOf(dir))
			}
		}
		return err
	})
}

func inModelScope(kind Kind, name string) (string, bool) {
	dirs := modelScope(kind, name)
	i := slices.IndexFunc(dirs, func(dir string) bool {
		info, err := os.Stat(dir)
		return err == nil && info.IsDir()
	})
	if i < 0 {
		return "", false
	}
	return dirs[i], true
}

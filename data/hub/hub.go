// Package hub finds models and data sets of the Hugging Face and ModelScope hubs in their
// caches on this machine, in the layouts of huggingface_hub 0.30 and modelscope 1.25. Only
// Download, which the user must ask for, uses the network; it fetches into Hugging Face's
// cache.
package hub

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Kind is what a repository holds.
type Kind string

// The kinds, as the hub's addresses and the cache's folders name them.
const (
	Models   Kind = "models"
	Datasets Kind = "datasets"
)

// DefaultRevision is the branch that is used where none is named.
const DefaultRevision = "main"

// nameForm is ORG/NAME, or NAME alone as the oldest models have it.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_]([\w.-]*[\w])?(/[A-Za-z0-9_]([\w.-]*[\w])?)?$`)

// IsName says whether text can be a repository's name.
func IsName(text string) bool {
	return nameForm.MatchString(text) && !strings.Contains(text, "--") && !strings.Contains(text, "..") && len(text) <= 96
}

// Cache is the folder of Hugging Face's cache: $HF_HUB_CACHE, $HUGGINGFACE_HUB_CACHE,
// $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or ~/.cache/huggingface/hub.
func Cache() string {
	if dir := cmp.Or(os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE")); dir != "" {
		return expand(dir)
	}
	return filepath.Join(home(), "hub")
}

// home is $HF_HOME or its default.
func home() string {
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return expand(dir)
	}
	return filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), expand("~/.cache")), "huggingface")
}

// expand replaces variables and a leading ~.
func expand(path string) string {
	path = os.ExpandEnv(path)
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/' || rest[0] == filepath.Separator) {
		if dir, err := os.UserHomeDir(); err == nil {
			return dir + rest
		}
	}
	return path
}

// modelScope lists where ModelScope may have stored a repository: under $MODELSCOPE_CACHE or
// ~/.cache/modelscope, with hub/ or without, the dots of the name written "___".
func modelScope(kind Kind, name string) []string {
	root := expand(cmp.Or(os.Getenv("MODELSCOPE_CACHE"), "~/.cache/modelscope"))
	org, base, ok := strings.Cut(name, "/")
	if !ok {
		return nil
	}
	var out []string
	for _, top := range []string{root, filepath.Join(root, "hub")} {
		for _, folder := range []string{string(kind), ""} {
			if folder == "" && kind != Models {
				continue
			}
			for _, n := range []string{strings.ReplaceAll(base, ".", "___"), base} {
				out = append(out, filepath.Join(top, folder, org, n))
			}
		}
	}
	return out
}

// repository is the cache's folder of a repository.
func repository(cache string, kind Kind, name string) string {
	return filepath.Join(cache, string(kind)+"--"+strings.ReplaceAll(name, "/", "--"))
}

// NameOf is the name of the repository that a snapshot's folder belongs to; any other folder is
// returned as it is.
func NameOf(dir string) string {
	parts := strings.Split(filepath.ToSlash(dir), "/")
	if n := len(parts); n >= 3 && parts[n-2] == "snapshots" {
		for _, k := range []Kind{Models, Datasets} {
			if name, ok := strings.CutPrefix(parts[n-3], string(k)+"--"); ok {
				return strings.Replace(name, "--", "/", 1)
			}
		}
	}
	return dir
}

// NotCached is a repository that is not on this machine.
type NotCached struct {
	Kind           Kind
	Name, Revision string
	Cache          string
}

func (e *NotCached) Error() string {
	flags := ""
	if e.Kind == Datasets {
		flags += " --dataset"
	}
	what := e.Name
	if e.Revision != DefaultRevision {
		flags += " --revision " + e.Revision
		what += " at revision " + e.Revision
	}
	return fmt.Sprintf("there is no folder %s here, and %s is not in the cache %s, nor in ModelScope's: `dataflex-cli download %s%s` fetches it; nothing else uses the network",
		e.Name, what, e.Cache, e.Name, flags)
}

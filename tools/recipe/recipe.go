// Package recipe has a commented configuration for every train type and method: `dataflex-cli
// init` writes them for a user's model and data, and data/examples has them for the demo's.
package recipe

import (
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// Kind is the decision that a recipe is about.
type Kind string

// The kinds: static training, the train types that make decisions, and what is done with a
// trained model.
const (
	Plain  Kind = "static"
	Select Kind = "dynamic_select"
	Mix    Kind = "dynamic_mix"
	Weight Kind = "dynamic_weight"
	Order  Kind = "dynamic_reorder"
	Lego   Kind = "dynamic_lego"
	Export Kind = "export"
	Eval   Kind = "eval"
)

// buckets are the sections of components.yaml, in order.
var buckets = []struct {
	kind       Kind
	name, what string
}{
	{Select, "selectors", "dynamic_select: which rows"},
	{Mix, "mixers", "dynamic_mix: the share of each data set"},
	{Weight, "weighters", "dynamic_weight: the weight of each row in the loss"},
	{Order, "reorders", "dynamic_reorder: the order of the rows"},
	{Lego, "pipelines", "dynamic_lego: several of these in one run"},
}

// Bucket is the section of components.yaml for components of a kind; "" = none.
func (k Kind) Bucket() string {
	for _, b := range buckets {
		if b.kind == k {
			return b.name
		}
	}
	return ""
}

// Line is a key of a YAML file. An empty Key makes the comment a line of its own.
type Line struct{ Key, Value, Comment string }

// Recipe is one configuration.
type Recipe struct {
	Name      string // of the file, without .yaml, and init's argument
	Kind      Kind
	Does      string // one sentence
	Paper     string // the source of the method; "" = none
	Component string // its entry in components.yaml; "" = none
	Params    []Line // of the component
	Eval      bool   // it requires an evaluation set
	Keys      []Line // replace the usual keys of the same name; an empty Value removes one
	Remarks   []string
	Before    []string // commands to run before
	After     []string // and after
	Files     []string // of Programs, written beside it
	Needs     string   // the recipe that must be trained before
}

// Settings are what a recipe is adapted to.
type Settings struct {
	Program    string // the command for dataflex-cli
	Folder     string // the folder of the recipe's files; "" = the current one
	Saves      string // the parent folder of all output_dirs
	Model      string
	Template   string // "" = the tokenizer's own
	Stage      string // pt, or sft
	DatasetDir string // "" = data
	Dataset    []string
	Eval       []string // empty: ValSize rows are held out where evaluation is needed
	ValSize    string
	RowFiles   [2]string // the files of Dataset[0] and Eval[0], for near and tsds
	Cutoff     int
	Micro      int // rows per micro-batch
	Accumulate int // micro-batches per step
	Rate       string
	Warmup     int // steps
	Update     int // steps
	Updates    int
	Epochs     string
	Anew       bool   // a run starts from the beginning instead of resuming
	Shares     string // of the data sets, for recipes that need some; "" = equal ones
}

// Names lists the recipes in the order of the table.
func Names() []string {
	out := make([]string, len(table))
	for i, r := range table {
		out[i] = r.Name
	}
	return out
}

// All returns the recipes in the order of the table.
func All() []Recipe { return slices.Clone(table) }

// Find returns the recipes of a name; only doremi has three.
func Find(name string) ([]Recipe, error) {
	var out []Recipe
	for _, r := range table {
		if r.Name == name || name == "doremi" && r.Component == "doremi" || name == "doremi" && strings.HasPrefix(r.Name, "doremi_") {
			out = append(out, r)
		}
	}
	if out != nil {
		return out, nil
	}
	names := append(Names(), "doremi")
	if near, ok := yamlfile.Nearest(name, names); ok {
		return nil, fmt.Errorf("there is no recipe %q: did you mean %s?", name, near)
	}
	slices.Sort(names)
	return nil, fmt.Errorf("there is no recipe %q; there are %s", name, strings.Join(names, ", "))
}

// Needed inserts before each recipe the one it depends on.
func Needed(recipes []Recipe) []Recipe {
	var out []Recipe
	for _, r := range recipes {
		if i := slices.IndexFunc(table, func(x Recipe) bool { return x.Name == r.Needs }); i >= 0 {
			out = append(out, table[i])
		}
		out = append(out, r)
	}
	return out
}

// Commands are the commands to type, in order: those before, the recipe's own, those after.
func (r Recipe) Commands(s Settings) []string {
	var out []string
	if r.Needs != "" {
		out = append(out, s.fill(Recipe{Name: r.Needs}.own()))
	}
	for _, c := range r.Before {
		out = append(out, s.fill(c))
	}
	out = append(out, s.fill(r.own()))
	for _, c := range r.After {
		out = append(out, s.fill(c))
	}
	return out
}

// Trains reports whether the recipe is for `train`.
func (r Recipe) Trains() bool { return r.Kind != Export && r.Kind != Eval }

func (r Recipe) own() string {
	command := "train"
	if !r.Trains() {
		command = string(r.Kind)
	}
	return "{cli} " + command + " {here}" + r.Name + ".yaml"
}

// fill replaces the placeholders of a text by the settings.
func (s Settings) fill(text string) string {
	here := ""
	if s.Folder != "" {
		here = s.Folder + "/"
	}
	shares := s.Shares
	if shares == "" {
		shares = "[" + strings.TrimSuffix(strings.Repeat("1, ", len(s.Dataset)), ", ") + "]"
	}
	return strings.NewReplacer("{shares}", shares, "{cli}", s.Program, "{here}", here, "{saves}", s.Saves, "{model}", s.Model,
		"{rows}", s.RowFiles[0], "{eval}", s.RowFiles[1]).Replace(text)
}

// FitTo reduces the accumulation and the steps of warm-up and selection so that rows rows are
// enough for both; 0 = unknown.
func (s *Settings) FitTo(rows int) {
	if rows == 0 {
		return
	}
	s.Accumulate = max(1, min(s.Accumulate, rows/(4*s.Micro)))
	steps := max(1, rows/2/(s.Micro*s.Accumulate))
	s.Warmup, s.Update = min(s.Warmup, steps), min(s.Update, steps)
}

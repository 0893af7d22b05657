// Package recipe holds a commented configuration for every train type and method:
// what `dataflex-cli init` writes for a user's model and data, and what data/examples
// holds for the demo's.
package recipe

import (
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// Kind is which decision a recipe is about.
type Kind string

// The kinds: plain training, the train types that decide, and what is done with a
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

// buckets are the parts of components.yaml, in its order.
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

// Bucket is the part of components.yaml that holds components of a kind; "" = none does.
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
	Name      string // of the file, without .yaml, and of init's argument
	Kind      Kind
	Does      string // one sentence
	Paper     string // where the method comes from; "" = nowhere in particular
	Component string // its entry in components.yaml; "" = none
	Params    []Line // of the component
	Eval      bool   // nothing works without an evaluation set
	Keys      []Line // in place of the usual keys of the same name; an empty Value leaves one out
	Remarks   []string
	Before    []string // commands to give first
	After     []string // and afterwards
	Files     []string // of Programs, that stand beside it
	Needs     string   // the recipe that is trained first
}

// Settings are what a recipe is written for.
type Settings struct {
	Program    string // how dataflex-cli is called
	Folder     string // where the recipe's files lie; "" = here
	Saves      string // the folder of all output_dirs
	Model      string
	Template   string // "" = the tokenizer's own
	Stage      string // pt, or sft
	DatasetDir string // "" = data
	Dataset    []string
	Eval       []string // empty: ValSize rows are held out where evaluation is needed
	ValSize    string
	RowFiles   [2]string // the files of Dataset[0] and Eval[0], for near and tsds
	Cutoff     int
	Micro      int // rows of a micro-batch
	Accumulate int // micro-batches of a step
	Rate       string
	Warmup     int // steps
	Update     int // steps
	Updates    int
	Epochs     string
	Anew       bool   // a run starts anew instead of going on
	Shares     string // of the data sets, where a recipe wants some; "" = equal ones
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

// Find returns the recipes of a name; doremi alone has three.
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

// Needed puts before each recipe the one that it needs.
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

// Commands are what to type, in order: what goes first, the recipe's own command, what
// comes after.
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

// Trains says whether the recipe is one that `train` takes.
func (r Recipe) Trains() bool { return r.Kind != Export && r.Kind != Eval }

func (r Recipe) own() string {
	command := "train"
	if !r.Trains() {
		command = string(r.Kind)
	}
	return "{cli} " + command + " {here}" + r.Name + ".yaml"
}

// fill replaces what of a text depends on where it is written.
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

// FitTo shortens the steps until a warm-up and a selection find enough rows; 0 = unknown.
func (s *Settings) FitTo(rows int) {
	if rows == 0 {
		return
	}
	s.Accumulate = max(1, min(s.Accumulate, rows/(4*s.Micro)))
	steps := max(1, rows/2/(s.Micro*s.Accumulate))
	s.Warmup, s.Update = min(s.Warmup, steps), min(s.Update, steps)
}

package recipe

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// Parameter is one parameter of a method, as read by its constructor.
type Parameter struct {
	Name     string // of a nested one with a point after the outer key
	Type     string // number, integer, text, bool, numbers, integers, texts or map
	Default  string // as YAML; "" = none
	Upstream string // the default in mode upstream if it differs
	Help     string
}

// Method is a component with what one should know before using it. Its page, `help` and the
// schema of components.yaml are made from this; a test compares the parameters with those that
// the constructor reads.
type Method struct {
	Name      string // of the page, and of `help`
	Kind      Kind
	Component string // its name in components.yaml; for dynamic_reorder: any
	Formula   string
	Params    []Parameter
	Mode      string // the differences of mode upstream; "" = none
	Cost      string
	Loses     string
}

// Methods are all components in the order of components.yaml.
func Methods() []Method { return slices.Concat(selectors, mixers, weighters, reorders, pipelines) }

// FindMethod returns a method by the name of its page.
func FindMethod(name string) (Method, error) {
	var names []string
	for _, m := range Methods() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	if near, ok := yamlfile.Nearest(name, names); ok {
		return Method{}, fmt.Errorf("there is no method %q: did you mean %s?", name, near)
	}
	return Method{}, fmt.Errorf("there is no method %q; there are %s", name, strings.Join(names, ", "))
}

// recipes are the examples of the method.
func (m Method) recipes() (out []Recipe) {
	for _, r := range table {
		if r.Kind == m.Kind && (r.Component == m.Component || m.Component == "" || strings.HasPrefix(r.Name, m.Name+"_")) {
			out = append(out, r)
		}
	}
	return out
}

// Does describes the method in one sentence.
func (m Method) Does() string {
	for _, r := range m.recipes() {
		if r.Component == m.Component || m.Component == "" {
			return r.Does
		}
	}
	return ""
}

var arXiv = regexp.MustCompile(`arXiv:([0-9.]+[0-9])`)

// paper is the source of the method, with a link where there is an arXiv number.
func (m Method) paper() string {
	for _, r := range m.recipes() {
		if r.Paper != "" {
			return arXiv.ReplaceAllString(r.Paper, "[arXiv:$1](https://arxiv.org/abs/$1)")
		}
	}
	return "DataFlex; there is no paper."
}

// Page is the method's page, in Markdown.
func (m Method) Page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n`train_type: %s`", m.Name, m.Does(), m.Kind)
	if m.Component != "" {
		fmt.Fprintf(&b, ", `name: %s` in components.yaml", m.Component)
	}
	fmt.Fprintf(&b, ". Source: %s\n\n", m.paper())
	if m.Formula != "" {
		b.WriteString("```\n" + strings.TrimSpace(m.Formula) + "\n```\n\n")
	}
	b.WriteString("**Cost.** " + m.Cost + "\n\n**When it does not help.** " + m.Loses + "\n\n**Mode upstream.** ")
	if m.Mode == "" {
		b.WriteString("The same.\n\n")
	} else {
		b.WriteString(m.Mode + "\n\n")
	}
	b.WriteString("| parameter | type | default | |\n|---|---|---|---|\n")
	for _, p := range m.Params {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", p.Name, p.Type, p.defaults(), p.Help)
	}
	b.WriteString("\n")
	for _, r := range m.recipes() {
		for _, c := range r.Commands(Example(r)) {
			b.WriteString("    " + c + "\n")
		}
	}
	return b.String()
}

func (p Parameter) defaults() string {
	text := "–"
	if p.Default != "" {
		text = "`" + p.Default + "`"
	}
	if p.Upstream != "" {
		text += ", upstream `" + p.Upstream + "`"
	}
	return text
}

// MethodIndex is the page that lists the methods.
func MethodIndex() string {
	var b strings.Builder
	b.WriteString("# Methods\n\nWhat each decides, what it costs and when it does not help. `dataflex-cli help less` prints a page; results on tasks with a known ground truth are in\n" +
		"[tools/proof](../../../tools/proof/README.md).\n\n| method | `train_type` | |\n|---|---|---|\n")
	for _, m := range Methods() {
		fmt.Fprintf(&b, "| [%s](%s.md) | `%s` | %s |\n", m.Name, m.Name, m.Kind, m.Does())
	}
	return b.String()
}

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/yamlfile"
)

func schemaCommand() *cobra.Command {
	components := false
	c := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of a configuration, for editors that complete and check YAML",
		Long: "Prints a JSON Schema (2020-12) of every key; with --components, of components.yaml. In VS Code with the YAML extension:\n" +
			"  dataflex-cli schema > dataflex.schema.json\n" +
			"and as the first line of a configuration\n" +
			"  # yaml-language-server: $schema=dataflex.schema.json",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if components {
				return writeComponentSchema(os.Stdout)
			}
			return writeSchema(os.Stdout)
		},
	}
	c.Flags().BoolVar(&components, "components", false, "the schema of components.yaml")
	return c
}

// numberPattern matches numbers that YAML 1.1 parses as strings: 2e-5.
const numberPattern = `^[-+]?[0-9_.]+([eE][-+]?[0-9]+)?$`

// property is one key in the schema. Its fields are in the order in which they are written.
type property struct {
	Description string          `json:"description,omitempty"`
	Type        []string        `json:"type,omitempty"`
	Items       *property       `json:"items,omitempty"`
	Pattern     string          `json:"pattern,omitempty"` // of strings
	AnyOf       []property      `json:"anyOf,omitempty"`
	Enum        []any           `json:"enum,omitempty"`
	Default     json.RawMessage `json:"default,omitempty"`
	Deprecated  bool            `json:"deprecated,omitempty"`
}

// writeSchema writes one property per key, in the table's order.
func writeSchema(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(`{"$schema":"https://json-schema.org/draft/2020-12/schema","title":"DataFlex configuration",` +
		`"type":"object","additionalProperties":false,"properties":{`)
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	for i, k := range config.Keys() {
		if i > 0 {
			b.WriteByte(',')
		}
		p, err := propertyOf(k)
		if err != nil {
			return err
		}
		name, err := json.Marshal(k.Name)
		if err != nil {
			return err
		}
		b.Write(append(name, ':'))
		if err := e.Encode(p); err != nil {
			return err
		}
	}
	b.WriteString("}}")
	var out bytes.Buffer
	if err := json.Indent(&out, b.Bytes(), "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return err
}

// propertyOf describes a key. null is always allowed: it means the default.
func propertyOf(k config.Key) (property, error) {
	p := property{Description: k.Help}
	doc, err := yamlfile.Parse("default", []byte("value: "+k.Default+"\n"))
	if err != nil {
		return p, err
	}
	e, _ := doc.Get("value")
	def := e.Value.Any()
	if p.Default, err = json.Marshal(def); err != nil {
		return p, err
	}
	scalar := map[config.Type]string{config.Bool: "boolean", config.Int: "integer", config.Float: "number", config.Text: "string"}
	switch k.Type {
	case config.List, config.Floats:
		item := "string"
		if k.Type == config.Floats {
			item = "number"
		}
		p.AnyOf = []property{{Type: []string{"array"}, Items: &property{Type: []string{item}}}, {Type: []string{"string", "number", "null"}}}
	case config.Map:
		p.Type = []string{"object", "string", "null"}
	case config.Mixed:
	case config.Int, config.Float:
		// PyYAML parses 2e-5 as a string; here, as in upstream, it is a number.
		p.Type, p.Pattern = []string{scalar[k.Type], "string", "null"}, numberPattern
	default:
		p.Type = []string{scalar[k.Type], "null"}
	}
	switch k.Status {
	case config.Ignored:
		p.Description, p.Deprecated = "No effect: "+k.Note+".", true
	case config.Refused:
		p.Description, p.Deprecated = "Not supported: "+k.Note+".", true
		p.Type, p.Pattern, p.AnyOf, p.Enum = nil, "", nil, []any{def}
		for _, nothing := range []any{nil, false} {
			if def != nothing {
				p.Enum = append(p.Enum, nothing)
			}
		}
	case config.Honoured:
		for _, c := range k.Choices {
			p.Enum = append(p.Enum, c)
			if c == config.No {
				p.Enum = append(p.Enum, false) // YAML 1.1 parses an unquoted no as false
				p.Type = append(p.Type, "boolean")
			}
		}
		if p.Enum != nil {
			p.Enum = append(p.Enum, nil)
		}
		if p.Description != "" && !strings.HasSuffix(p.Description, ".") {
			p.Description += "."
		}
	}
	return p, nil
}

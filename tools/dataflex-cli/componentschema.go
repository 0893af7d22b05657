package main

import (
	"io"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/tools/recipe"
)

func field(key string, value any) pyjson.Field { return pyjson.Field{Key: key, Value: value} }

// writeComponentSchema writes the JSON Schema of components.yaml, from the table from which the
// methods' pages are made. A user-defined method accepts any parameters.
func writeComponentSchema(w io.Writer) error {
	defs, parts := pyjson.Object{}, pyjson.Object{}
	for _, kind := range []recipe.Kind{recipe.Select, recipe.Mix, recipe.Weight, recipe.Order, recipe.Lego} {
		bucket := kind.Bucket()
		for _, m := range recipe.Methods() {
			if m.Kind == kind {
				defs = append(defs, field(bucket+"."+m.Name, paramsSchema(m.Params, "")))
			}
		}
		known, chosen := choices(kind)
		defs = append(defs, field(bucket, pyjson.Object{
			field("type", []string{"object", "null"}),
			field("properties", pyjson.Object{
				field("name", pyjson.Object{field("description", "the method; the entry's own name where it is left out"), field("type", []string{"string", "null"})}),
				field("mode", modeSchema),
				field("params", pyjson.Object{field("type", []string{"object", "null"})}),
			}),
			field("additionalProperties", false),
			field("allOf", chosen),
		}))
		parts = append(parts, field(bucket, pyjson.Object{
			field("type", []string{"object", "null"}), field("properties", known), field("additionalProperties", pyjson.Object{field("$ref", "#/$defs/"+bucket)}),
		}))
	}
	schema := pyjson.Object{
		field("$schema", "https://json-schema.org/draft/2020-12/schema"), field("title", "DataFlex components"),
		field("type", "object"), field("properties", parts), field("$defs", defs),
	}
	_, err := io.WriteString(w, pyjson.Encode(schema, 2)+"\n")
	return err
}

var modeSchema = pyjson.Object{
	field("description", "faithful: what the paper says (the default); upstream: what OpenDCAI/DataFlex does"), field("enum", []any{"faithful", "upstream"}),
}

// choices describes which parameters an entry may have: by its name, or by its key where it has
// none.
func choices(kind recipe.Kind) (known pyjson.Object, chosen []any) {
	bucket := kind.Bucket()
	for _, m := range recipe.Methods() {
		if m.Kind != kind {
			continue
		}
		then := pyjson.Object{field("properties", pyjson.Object{field("params", pyjson.Object{field("$ref", "#/$defs/"+bucket+"."+m.Name)})})}
		if m.Component == "" { // every entry is the same method
			chosen = append(chosen, then)
			continue
		}
		named := pyjson.Object{field("required", []string{"name"})}
		chosen = append(chosen, pyjson.Object{
			field("if", append(pyjson.Object{field("properties", pyjson.Object{field("name", pyjson.Object{field("const", m.Component)})})}, named...)),
			field("then", then),
		})
		known = append(known, field(m.Component, pyjson.Object{
			field("$ref", "#/$defs/"+bucket), field("description", m.Does()), field("if", pyjson.Object{field("not", named)}), field("then", then),
		}))
	}
	return known, chosen
}

// paramsSchema is the schema of the parameters under a key; "" = at the top level.
func paramsSchema(params []recipe.Parameter, under string) pyjson.Object {
	properties := pyjson.Object{}
	for _, p := range params {
		key, inner := p.Name, false
		if head, rest, ok := strings.Cut(p.Name, "."); ok {
			key, inner = rest, head == under
		}
		if inner != (under != "") || !inner && key != p.Name {
			continue
		}
		s := typeSchema(p.Type)
		if p.Type == "map" && under == "" {
			if nested := paramsSchema(params, p.Name); len(nested.Get("properties").(pyjson.Object)) > 0 {
				s = nested
			}
		}
		if p.Type == "list" && under == "" {
			s = pyjson.Object{field("type", "array"), field("items", paramsSchema(params, p.Name))}
		}
		text := p.Help
		if p.Default != "" {
			text += " (default " + p.Default + ")"
		}
		properties = append(properties, field(key, append(pyjson.Object{field("description", text)}, s...)))
	}
	if under == "" { // as in upstream's file
		properties = append(properties, field("mode", modeSchema))
	}
	return pyjson.Object{field("type", []string{"object", "null"}), field("properties", properties), field("additionalProperties", false)}
}

// typeSchema is the schema of a parameter's type. null always means the default; 2e-5 is a
// string in PyYAML and a number here.
func typeSchema(kind string) pyjson.Object {
	list := func(item string) pyjson.Object {
		return pyjson.Object{field("anyOf", []any{
			pyjson.Object{field("type", "array"), field("items", pyjson.Object{field("type", item)})},
			pyjson.Object{field("type", []string{"string", "number", "null"})},
		})}
	}
	switch kind {
	case "number", "integer":
		return pyjson.Object{field("type", []string{kind, "string", "null"}), field("pattern", numberPattern)}
	case "bool":
		return pyjson.Object{field("type", []string{"boolean", "null"})}
	case "numbers":
		return list("number")
	case "integers":
		return list("integer")
	case "texts":
		return list("string")
	case "map":
		return pyjson.Object{field("type", []string{"object", "null"})}
	}
	return pyjson.Object{field("type", []string{"string", "number", "null"})}
}

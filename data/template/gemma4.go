package template

import (
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/pyjson"
)

// quoted is a text between Gemma 4's marks of a string; what it contains is not escaped.
func quoted(text string) string { return "<|\"|>" + text + "<|\"|>" }

// gemma4Tools declares one tool a line.
func gemma4Tools(tools []any) (string, error) {
	lines := make([]string, len(tools))
	for i, tool := range tools {
		tool = declared(tool)
		name, err := toolName(tool)
		if err != nil {
			return "", err
		}
		description := ""
		if d, ok := member(tool, "description"); ok {
			description = pyjson.Str(d)
		}
		lines[i] = "declaration:" + name + "{description:" + quoted(description)
		if parameters, _ := member(tool, "parameters"); !empty(parameters) {
			fields, err := gemma4Parameters(parameters)
			if err != nil {
				return "", fmt.Errorf("tool %q: %w", name, err)
			}
			lines[i] += ",parameters:{" + fields + "}"
		}
		if response, _ := member(tool, "response"); !empty(response) {
			var fields []string
			if d, _ := member(response, "description"); !empty(d) {
				fields = append(fields, "description:"+quoted(pyjson.Str(d)))
			}
			if kind, _ := member(response, "type"); strings.EqualFold(pyjson.Str(kind), "object") {
				fields = append(fields, "type:"+quoted("OBJECT"))
			}
			lines[i] += ",response:{" + strings.Join(fields, ",") + "}"
		}
		lines[i] += "}"
	}
	return strings.Join(lines, "\n"), nil
}

// gemma4Parameters is the description and type of each parameter, and which are required.
func gemma4Parameters(parameters any) (string, error) {
	var fields []string
	if found, _ := member(parameters, "properties"); !empty(found) {
		properties, ok := found.(pyjson.Object)
		if !ok {
			return "", fmt.Errorf("parameters.properties: want an object, got %s", clip(dump(found)))
		}
		each := make([]string, len(properties))
		for i, p := range properties {
			var about []string
			if d, _ := member(p.Value, "description"); !empty(d) {
				about = append(about, "description:"+quoted(pyjson.Str(d)))
			}
			if kind, _ := member(p.Value, "type"); !empty(kind) {
				about = append(about, "type:"+quoted(strings.ToUpper(pyjson.Str(kind))))
			}
			each[i] = p.Key + ":{" + strings.Join(about, ",") + "}"
		}
		fields = append(fields, "properties:{"+strings.Join(each, ",")+"}")
	}
	if required, _ := member(parameters, "required"); !empty(required) {
		var names []string
		for _, name := range list(required) {
			names = append(names, quoted(pyjson.Str(name)))
		}
		fields = append(fields, "required:["+strings.Join(names, ",")+"]")
	}
	if kind, _ := member(parameters, "type"); !empty(kind) {
		fields = append(fields, "type:"+quoted(strings.ToUpper(pyjson.Str(kind))))
	}
	return strings.Join(fields, ","), nil
}

// gemma4Calls writes the calls one after another, with the arguments sorted by name.
func gemma4Calls(calls []call) (string, error) {
	var text strings.Builder
	for _, c := range calls {
		arguments := ""
		switch a := c.arguments.(type) {
		case pyjson.Object:
			arguments = gemma4Fields(a)
		case string:
			arguments = a
		default:
			arguments = gemma4Value(a)
		}
		text.WriteString("<|tool_call>call:" + c.name + "{" + arguments + "}<tool_call|>")
	}
	return text.String(), nil
}

func gemma4Value(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return dump(v)
	case string:
		return quoted(v)
	case pyjson.Object:
		return "{" + gemma4Fields(v) + "}"
	case []any:
		items := make([]string, len(v))
		for i := range v {
			items[i] = gemma4Value(v[i])
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	return pyjson.Str(v) // a number
}

func gemma4Fields(o pyjson.Object) string {
	o = slices.Clone(o)
	slices.SortStableFunc(o, func(a, b pyjson.Field) int { return strings.Compare(a.Key, b.Key) })
	fields := make([]string, len(o))
	for i, f := range o {
		fields[i] = f.Key + ":" + gemma4Value(f.Value)
	}
	return strings.Join(fields, ",")
}

// empty is what Python takes for false: null, false, 0, and a text, list or object without
// elements.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case bool:
		return !v
	case int:
		return v == 0
	case float64:
		return v == 0
	case string:
		return v == ""
	}
	_, number := v.(pyjson.Number)
	return !number && size(v) == 0
}

package template

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"dataflex.dev/dataflex/data/pyjson"
)

// call is one function call of an answer.
type call struct {
	name      string
	arguments any
}

// toolFormat is the form in which a family of models is given its tools and makes calls.
type toolFormat struct {
	tools    func(tools []any) (string, error)
	function func(calls []call) (string, error)
}

var toolFormats = map[string]toolFormat{
	"default":  {defaultTools, defaultCalls},
	"gemma4":   {gemma4Tools, gemma4Calls},
	"glm4":     {glm4Tools, glm4Calls},
	"glm4_moe": {listTools("\n\n"+listHead, glm4MoeTail), glm4MoeCalls},
	"llama3":   {llama3Tools, llama3Calls},
	"lfm2":     {lfm2Tools, lfm2Calls},
	"ling":     {listTools(listHead, qwenTail+"\ndetailed thinking off"), qwenCalls},
	"minimax1": {minimax1Tools, minimax1Calls},
	"minimax2": {minimax2Tools, minimax2Calls},
	"mistral":  {mistralTools, mistralCalls},
	"qwen":     {listTools("\n\n"+listHead, qwenTail), qwenCalls},
	"qwen3_5":  {qwen35Tools, qwen35Calls},
	"seed_oss": {seedTools, seedCalls},
}

func toolFormatNames() []string { return slices.Sorted(maps.Keys(toolFormats)) }

// parseCalls reads a JSON call {"name", "arguments"} or a list of them.
func parseCalls(s string) ([]call, error) {
	v, err := pyjson.Decode([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("invalid JSON in a function message: %w: %s", err, clip(s))
	}
	items, several := v.([]any)
	if !several {
		items = []any{v}
	}
	calls := make([]call, 0, len(items))
	for _, item := range items {
		name, _ := member(item, "name")
		arguments, ok := member(item, "arguments")
		text, named := name.(string)
		if !named || !ok {
			return nil, errors.New(`a function message wants {"name", "arguments"}: ` + clip(dump(item)))
		}
		calls = append(calls, call{text, arguments})
	}
	return calls, nil
}

// inner unwraps {"type": "function", "function": F} to F.
func inner(tool any) any {
	if kind, _ := member(tool, "type"); kind == "function" {
		f, _ := member(tool, "function")
		return f
	}
	return tool
}

// declared is inner, but for a tool of type function that has its members beside the type.
func declared(tool any) any {
	if _, wraps := member(tool, "function"); wraps {
		return inner(tool)
	}
	return tool
}

// wrapped is the inverse of inner.
func wrapped(tool any) any {
	if kind, _ := member(tool, "type"); kind == "function" {
		return tool
	}
	return pyjson.Object{{Key: "type", Value: "function"}, {Key: "function", Value: tool}}
}

// toolName returns the name of a tool.
func toolName(tool any) (string, error) {
	name, ok := member(tool, "name")
	if !ok {
		return "", errors.New("a tool has no name: " + clip(dump(tool)))
	}
	return pyjson.Str(name), nil
}

// today is the date that some prompts contain; SOURCE_DATE_EPOCH fixes it.
func today() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0).UTC()
	}
	return time.Now()
}

func defaultTools(tools []any) (string, error) {
	var text strings.Builder
	var names []string
	for _, tool := range tools {
		tool = inner(tool)
		name, err := toolName(tool)
		if err != nil {
			return "", err
		}
		arguments, err := defaultArguments(tool)
		if err != nil {
			return "", fmt.Errorf("tool %q: %w", name, err)
		}
		description := ""
		if d, ok := member(tool, "description"); ok {
			description = pyjson.Str(d)
		}
		fmt.Fprintf(&text, "> Tool Name: %s\nTool Description: %s\nTool Args:\n%s\n", name, description, arguments)
		names = append(names, name)
	}
	return "You have access to the following tools:\n" + text.String() +
		"Use the following format if using a tool:\n```\nAction: tool name (one of [" + strings.Join(names, ", ") +
		"])\nAction Input: the input to the tool, in a JSON format representing the kwargs " +
		"(e.g. ```{\"input\": \"hello world\", \"num_beams\": 5}```)\n```\n", nil
}

// defaultArguments has one line for each parameter.
func defaultArguments(tool any) (string, error) {
	parameters, _ := member(tool, "parameters")
	found, _ := member(parameters, "properties")
	properties, ok := found.(pyjson.Object)
	if !ok {
		return "", errors.New("no parameters.properties")
	}
	required, _ := member(parameters, "required")
	var text strings.Builder
	for _, property := range properties {
		name, p := property.Key, property.Value
		field := func(key string) string {
			if v, ok := member(p, key); ok {
				return pyjson.Str(v)
			}
			return ""
		}
		fmt.Fprintf(&text, "  - %s (%s", name, field("type"))
		if slices.Contains(list(required), any(name)) {
			text.WriteString(", required")
		}
		fmt.Fprintf(&text, "): %s", field("description"))
		if enum, _ := member(p, "enum"); len(list(enum)) > 0 {
			choices := make([]string, len(list(enum)))
			for i, choice := range list(enum) {
				choices[i] = pyjson.Str(choice)
			}
			fmt.Fprintf(&text, ", should be one of [%s]", strings.Join(choices, ", "))
		}
		if items, _ := member(p, "items"); size(items) > 0 {
			kind, ok := member(items, "type")
			if !ok {
				kind = ""
			}
			fmt.Fprintf(&text, ", where each item should be %s", pyjson.Str(kind))
		}
		text.WriteByte('\n')
	}
	return text.String(), nil
}

func defaultCalls(calls []call) (string, error) {
	lines := make([]string, len(calls))
	for i, c := range calls {
		lines[i] = "Action: " + c.name + "\nAction Input: " + dump(c.arguments)
	}
	return strings.Join(lines, "\n"), nil
}

func glm4Tools(tools []any) (string, error) {
	text := "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，" +
		"你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具"
	for _, tool := range tools {
		tool = inner(tool)
		name, err := toolName(tool)
		if err != nil {
			return "", err
		}
		text += "\n\n## " + name + "\n\n" + dumpIndented(tool) + "\n在调用上述函数时，请使用 Json 格式表示调用的参数。"
	}
	return text, nil
}

func glm4Calls(calls []call) (string, error) {
	if len(calls) != 1 {
		return "", fmt.Errorf("tool_format glm4 supports one call per message, got %d", len(calls))
	}
	return calls[0].name + "\n" + dump(calls[0].arguments), nil
}

const (
	listHead = "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n" +
		"You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
	qwenTail = "\n</tools>\n\nFor each function call, return a json object with function name and arguments within " +
		"<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"
	glm4MoeTail = "\n</tools>\n\nFor each function call, output the function name and arguments within the following XML format:" +
		"\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</arg_value>" +
		"\n<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>\n"
)

// listTools lists one tool a line between head and tail.
func listTools(head, tail string) func([]any) (string, error) {
	return func(tools []any) (string, error) {
		text := head
		for _, tool := range tools {
			text += "\n" + dump(wrapped(tool))
		}
		return text + tail, nil
	}
}

func qwenCalls(calls []call) (string, error) {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = "<tool_call>\n" + dump(c.object("arguments")) + "\n</tool_call>"
	}
	return strings.Join(parts, "\n"), nil
}

// object is the call as {"name": …, arguments: …}.
func (c call) object(arguments string) pyjson.Object {
	return pyjson.Object{{Key: "name", Value: c.name}, {Key: arguments, Value: c.arguments}}
}

// glm4MoeCalls writes each argument between tags; like upstream it does not close <tool_call>.
func glm4MoeCalls(calls []call) (string, error) {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = "\n<tool_call>" + c.name
		err := c.eachArgument(func(key, text string) {
			parts[i] += "\n<arg_key>" + key + "</arg_key>\n<arg_value>" + text + "</arg_value>"
		})
		if err != nil {
			return "", err
		}
	}
	return strings.Join(parts, "\n"), nil
}

// named is the arguments of a call by their names.
func (c call) named() (pyjson.Object, error) {
	arguments, ok := c.arguments.(pyjson.Object)
	if !ok {
		return nil, fmt.Errorf("arguments of %q: want an object, got %s", c.name, clip(dump(c.arguments)))
	}
	return arguments, nil
}

// eachArgument calls f with every argument: a string unchanged, other values as JSON.
func (c call) eachArgument(f func(key, text string)) error {
	arguments, err := c.named()
	if err != nil {
		return err
	}
	for _, a := range arguments {
		text, ok := a.Value.(string)
		if !ok {
			text = dump(a.Value)
		}
		f(a.Key, text)
	}
	return nil
}

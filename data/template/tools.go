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
)

// call is one function call of an answer.
type call struct {
	name      string
	arguments value
}

// toolFormat is how a family of models is told its tools and calls them.
type toolFormat struct {
	tools    func(list value) (string, error)
	function func(calls []call) (string, error)
}

var toolFormats = map[string]toolFormat{
	"default":  {defaultTools, defaultCalls},
	"glm4":     {glm4Tools, glm4Calls},
	"glm4_moe": {listTools("\n\n"+listHead, glm4MoeTail), glm4MoeCalls},
	"llama3":   {llama3Tools, llama3Calls},
	"ling":     {listTools(listHead, qwenTail+"\ndetailed thinking off"), qwenCalls},
	"minimax1": {minimax1Tools, minimax1Calls},
	"minimax2": {minimax2Tools, minimax2Calls},
	"mistral":  {mistralTools, mistralCalls},
	"qwen":     {listTools("\n\n"+listHead, qwenTail), qwenCalls},
	"seed_oss": {seedTools, seedCalls},
}

func toolFormatNames() []string { return slices.Sorted(maps.Keys(toolFormats)) }

// parseCalls reads a JSON call {"name", "arguments"} or a list of them.
func parseCalls(s string) ([]call, error) {
	v, err := parseJSON(s)
	if err != nil {
		return nil, fmt.Errorf("invalid JSON in a function message: %w: %s", err, clip(s))
	}
	items := []value{v}
	if v.kind == jsonArray {
		items = v.items
	}
	calls := make([]call, 0, len(items))
	for _, item := range items {
		name, named := item.get("name")
		arguments, ok := item.get("arguments")
		if !named || !ok || name.kind != jsonString {
			return nil, errors.New(`a function message wants {"name", "arguments"}: ` + clip(item.dump()))
		}
		calls = append(calls, call{name.text, arguments})
	}
	return calls, nil
}

// inner takes {"type": "function", "function": F} apart to F.
func inner(tool value) value {
	if kind, ok := tool.get("type"); ok && kind.text == "function" {
		f, _ := tool.get("function")
		return f
	}
	return tool
}

// wrapped is the other way round.
func wrapped(tool value) value {
	if kind, ok := tool.get("type"); ok && kind.text == "function" {
		return tool
	}
	return object([]string{"type", "function"}, stringValue("function"), tool)
}

// toolName returns the name of a tool.
func toolName(tool value) (string, error) {
	name, ok := tool.get("name")
	if !ok {
		return "", errors.New("a tool has no name: " + clip(tool.dump()))
	}
	return name.format(), nil
}

// today is the date some prompts carry; SOURCE_DATE_EPOCH makes it stand still.
func today() time.Time {
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(s, 0).UTC()
	}
	return time.Now()
}

func defaultTools(list value) (string, error) {
	var text strings.Builder
	var names []string
	for _, tool := range list.items {
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
		if d, ok := tool.get("description"); ok {
			description = d.format()
		}
		fmt.Fprintf(&text, "> Tool Name: %s\nTool Description: %s\nTool Args:\n%s\n", name, description, arguments)
		names = append(names, name)
	}
	return "You have access to the following tools:\n" + text.String() +
		"Use the following format if using a tool:\n```\nAction: tool name (one of [" + strings.Join(names, ", ") +
		"])\nAction Input: the input to the tool, in a JSON format representing the kwargs " +
		"(e.g. ```{\"input\": \"hello world\", \"num_beams\": 5}```)\n```\n", nil
}

// defaultArguments has a line for each parameter.
func defaultArguments(tool value) (string, error) {
	parameters, _ := tool.get("parameters")
	properties, ok := parameters.get("properties")
	if !ok || properties.kind != jsonObject {
		return "", errors.New("no parameters.properties")
	}
	required, _ := parameters.get("required")
	var text strings.Builder
	for i, name := range properties.keys {
		p := properties.items[i]
		field := func(key string) string {
			if v, ok := p.get(key); ok {
				return v.format()
			}
			return ""
		}
		fmt.Fprintf(&text, "  - %s (%s", name, field("type"))
		if slices.ContainsFunc(required.items, func(v value) bool { return v.kind == jsonString && v.text == name }) {
			text.WriteString(", required")
		}
		fmt.Fprintf(&text, "): %s", field("description"))
		if enum, _ := p.get("enum"); len(enum.items) > 0 {
			choices := make([]string, len(enum.items))
			for i, choice := range enum.items {
				choices[i] = choice.format()
			}
			fmt.Fprintf(&text, ", should be one of [%s]", strings.Join(choices, ", "))
		}
		if items, _ := p.get("items"); len(items.items) > 0 {
			kind, ok := items.get("type")
			if !ok {
				kind = stringValue("")
			}
			fmt.Fprintf(&text, ", where each item should be %s", kind.format())
		}
		text.WriteByte('\n')
	}
	return text.String(), nil
}

func defaultCalls(calls []call) (string, error) {
	lines := make([]string, len(calls))
	for i, c := range calls {
		lines[i] = "Action: " + c.name + "\nAction Input: " + c.arguments.dump()
	}
	return strings.Join(lines, "\n"), nil
}

func glm4Tools(list value) (string, error) {
	text := "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，" +
		"你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具"
	for _, tool := range list.items {
		tool = inner(tool)
		name, err := toolName(tool)
		if err != nil {
			return "", err
		}
		text += "\n\n## " + name + "\n\n" + tool.dumpIndented() + "\n在调用上述函数时，请使用 Json 格式表示调用的参数。"
	}
	return text, nil
}

func glm4Calls(calls []call) (string, error) {
	if len(calls) != 1 {
		return "", fmt.Errorf("tool_format glm4 knows one call a message, got %d", len(calls))
	}
	return calls[0].name + "\n" + calls[0].arguments.dump(), nil
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
func listTools(head, tail string) func(value) (string, error) {
	return func(list value) (string, error) {
		text := head
		for _, tool := range list.items {
			text += "\n" + wrapped(tool).dump()
		}
		return text + tail, nil
	}
}

func qwenCalls(calls []call) (string, error) {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = "<tool_call>\n" + c.object("arguments").dump() + "\n</tool_call>"
	}
	return strings.Join(parts, "\n"), nil
}

// object is the call as {"name": …, arguments: …}.
func (c call) object(arguments string) value {
	return object([]string{"name", arguments}, stringValue(c.name), c.arguments)
}

// glm4MoeCalls writes each argument between tags; it does not close
// <tool_call>, as upstream does not.
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

// eachArgument calls f with every argument: a string as it is, else as JSON.
func (c call) eachArgument(f func(key, text string)) error {
	if c.arguments.kind != jsonObject {
		return fmt.Errorf("arguments of %q: want an object, got %s", c.name, clip(c.arguments.dump()))
	}
	for i, key := range c.arguments.keys {
		text := c.arguments.items[i].dump()
		if v := c.arguments.items[i]; v.kind == jsonString {
			text = v.text
		}
		f(key, text)
	}
	return nil
}

package template

import "strings"

func llama3Tools(tools []any) (string, error) {
	text := "Cutting Knowledge Date: December 2023\nToday Date: " + today().Format("02 Jan 2006") +
		"\n\nYou have access to the following functions. To call a function, please respond with JSON for a function call. " +
		"Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}. " +
		"Do not use variables.\n\n"
	for _, tool := range tools {
		text += dumpIndented(wrapped(tool)) + "\n\n"
	}
	return text, nil
}

func llama3Calls(calls []call) (string, error) {
	if len(calls) == 1 {
		return dump(calls[0].object("parameters")), nil
	}
	return callList(calls, "parameters"), nil
}

// callList is the calls as a JSON list.
func callList(calls []call, arguments string) string {
	objects := make([]any, len(calls))
	for i, c := range calls {
		objects[i] = c.object(arguments)
	}
	return dump(objects)
}

func mistralTools(tools []any) (string, error) {
	all := make([]any, len(tools))
	for i, tool := range tools {
		all[i] = wrapped(tool)
	}
	return "[AVAILABLE_TOOLS] " + dump(all) + "[/AVAILABLE_TOOLS]", nil
}

func mistralCalls(calls []call) (string, error) { return callList(calls, "arguments"), nil }

func minimax1Tools(tools []any) (string, error) {
	text := "You are provided with these tools:\n<tools>\n"
	for _, tool := range tools {
		text += dump(inner(tool)) + "\n"
	}
	return text + "</tools>\n\nIf you need to call tools, please respond with <tool_calls></tool_calls> XML tags, " +
		"and provide tool-name and json-object of arguments, following the format below:\n<tool_calls>\n" +
		"{\"name\": <tool-name-1>, \"arguments\": <args-json-object-1>}\n...\n</tool_calls>", nil
}

func minimax1Calls(calls []call) (string, error) {
	lines := make([]string, len(calls))
	for i, c := range calls {
		lines[i] = dump(c.object("arguments"))
	}
	return "<tool_calls>\n" + strings.Join(lines, "\n") + "\n</tool_calls>", nil
}

func minimax2Tools(tools []any) (string, error) {
	text := "\n\n# Tools\n\nYou may call one or more tools to assist with the user query.\n" +
		"Here are the tools available in JSONSchema format:\n\n<tools>\n"
	for _, tool := range tools {
		text += "<tool>" + dump(inner(tool)) + "</tool>\n"
	}
	return text + "</tools>\n\nWhen making tool calls, use XML format to invoke tools and pass parameters:\n" +
		"\n<minimax:tool_call>\n<invoke name=\"tool-name-1\">\n<parameter name=\"param-key-1\">param-value-1</parameter>\n" +
		"<parameter name=\"param-key-2\">param-value-2</parameter>\n...\n</invoke>\n</minimax:tool_call>", nil
}

// minimax2Calls is LLaMA-Factory 0.9.5's: the formatter of 0.9.4 is unfinished and fails.
func minimax2Calls(calls []call) (string, error) {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = "<invoke name=\"" + c.name + "\">"
		err := c.eachArgument(func(key, text string) {
			parts[i] += "\n<parameter name=\"" + key + "\">" + text + "</parameter>"
		})
		if err != nil {
			return "", err
		}
		parts[i] += "\n</invoke>"
	}
	return strings.Join(parts, "\n"), nil
}

func seedTools(tools []any) (string, error) {
	return "system\nYou are Doubao, a helpful AI assistant. You may call one or more functions to assist with the user query." +
		"Tool List:\nYou are authorized to use the following tools (described in JSON Schema format). Before performing " +
		"any task, you must decide how to call them based on the descriptions and parameters of these tools.\n" + dump(tools) +
		"\n工具调用请遵循如下格式:\n<seed:tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>value_1" +
		"</parameter>\n<parameter=example_parameter_2>This is the value for the second parameter\nthat can span\nmultiple " +
		"lines</parameter>\n</function>\n</seed:tool_call>\n", nil
}

// seedCalls leaves <function=name unclosed, as upstream does.
func seedCalls(calls []call) (string, error) {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = "\n<seed:tool_call>\n<function=" + c.name
		err := c.eachArgument(func(key, text string) {
			parts[i] += "\n<parameter=" + key + ">" + text + "</parameter>"
		})
		if err != nil {
			return "", err
		}
		parts[i] += "\n</function>\n</seed:tool_call>"
	}
	return strings.Join(parts, "\n"), nil
}

func qwen35Tools(tools []any) (string, error) {
	text := "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>"
	for _, tool := range tools {
		text += "\n" + dump(declared(tool))
	}
	return text + "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n" +
		"<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n" +
		"<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n" +
		"</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n" +
		"- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within " +
		"<tool_call></tool_call> XML tags\n- Required parameters MUST be specified\n- You may provide optional reasoning for your " +
		"function call in natural language BEFORE the function call, but NOT after\n- If there is no function call available, " +
		"answer the question like normal with your current knowledge and do not tell the user about function calls\n</IMPORTANT>", nil
}

func qwen35Calls(calls []call) (string, error) {
	parts := make([]string, len(calls))
	for i, c := range calls {
		parts[i] = "<tool_call>\n<function=" + c.name + ">"
		err := c.eachArgument(func(key, text string) {
			parts[i] += "\n<parameter=" + key + ">\n" + text + "\n</parameter>"
		})
		if err != nil {
			return "", err
		}
		parts[i] += "\n</function>\n</tool_call>"
	}
	return strings.Join(parts, "\n"), nil
}

func lfm2Tools(tools []any) (string, error) {
	all := make([]any, len(tools))
	for i, tool := range tools {
		all[i] = declared(tool)
	}
	return "List of tools: <|tool_list_start|>" + dump(all) + "<|tool_list_end|>", nil
}

// lfm2Calls writes calls as Python does: f(a="text", b=1). Quotes in a text are not escaped.
func lfm2Calls(calls []call) (string, error) {
	parts := make([]string, len(calls))
	for i, c := range calls {
		arguments, err := c.named()
		if err != nil {
			return "", err
		}
		keywords := make([]string, len(arguments))
		for k, a := range arguments {
			if text, ok := a.Value.(string); ok {
				keywords[k] = a.Key + "=\"" + text + "\""
			} else {
				keywords[k] = a.Key + "=" + dump(a.Value)
			}
		}
		parts[i] = c.name + "(" + strings.Join(keywords, ", ") + ")"
	}
	return "<|tool_call_start|>[" + strings.Join(parts, ", ") + "]<|tool_call_end|>", nil
}

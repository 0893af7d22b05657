package recipe

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// YAML writes the configuration.
func (r Recipe) YAML(s Settings) string {
	var b strings.Builder
	r.head(&b, s)
	for _, sec := range r.merge(r.sections(s)) {
		if len(sec.lines) > 0 {
			b.WriteString("\n# " + sec.title + "\n")
			writeLines(&b, "", sec.lines, s)
		}
	}
	return b.String()
}

func (r Recipe) head(b *strings.Builder, s Settings) {
	b.WriteString("# " + r.Does + "\n")
	if r.Paper != "" {
		b.WriteString("# " + r.Paper + "\n")
	}
	for _, line := range r.Remarks {
		b.WriteString("# " + s.fill(line) + "\n")
	}
	b.WriteString("#\n")
	for _, c := range r.Commands(s) {
		b.WriteString("#   " + c + "\n")
	}
}

type section struct {
	title string
	lines []Line
}

// sections are the usual keys; the recipe's further keys are added to the second section.
func (r Recipe) sections(s Settings) []section {
	model := []Line{{"model_name_or_path", s.Model, "a Hugging Face model: its folder, or its name, which `dataflex-cli download` fetches"}}
	if s.Template != "" {
		model = append(model, Line{"template", s.Template, "the chat template"})
	}
	switch r.Kind {
	case Export:
		return []section{{"the model", model}, {"the output", nil}}
	case Eval:
		return []section{{"the model", model}, {"data", r.data(s)}}
	}
	return []section{
		{"the model", model},
		{"what is trained", []Line{
			{"stage", s.Stage, ""},
			{"do_train", "true", ""},
			{"finetuning_type", "lora", "lora, full or freeze"},
			{"lora_target", "all", "every linear layer except the head"},
			{"lora_rank", "8", ""},
		}},
		{"data: entries of dataset_info.json in dataset_dir", r.data(s)},
		{"steps", []Line{
			{"per_device_train_batch_size", strconv.Itoa(s.Micro), "rows per micro-batch"},
			{"gradient_accumulation_steps", strconv.Itoa(s.Accumulate), "micro-batches per optimizer step"},
			{"learning_rate", s.Rate, ""},
			{"lr_scheduler_type", "cosine", ""},
			{"warmup_ratio", "0.1", "share of the run for the linear warm-up of the learning rate"},
			{"num_train_epochs", s.Epochs, ""},
		}},
		{"the method", r.decides(s)},
		{"the output", []Line{
			{"output_dir", "{saves}/" + r.Name, ""},
			s.overwrite(),
			{"logging_steps", "2", ""},
			{"save_steps", "100", "steps between checkpoints"},
			{"plot_loss", "true", ""},
			{"seed", "42", "the same seed gives the same run"},
		}},
	}
}

func (s Settings) overwrite() Line {
	if s.Anew {
		return Line{"overwrite_output_dir", "true", "starts from the beginning; false: resumes from the newest checkpoint"}
	}
	return Line{"overwrite_output_dir", "false", "resumes from the newest checkpoint; true: starts from the beginning"}
}

func (r Recipe) data(s Settings) []Line {
	var out []Line
	if s.DatasetDir != "" {
		out = append(out, Line{"dataset_dir", s.DatasetDir, ""})
	}
	if r.Kind != Eval {
		out = append(out, Line{"dataset", strings.Join(s.Dataset, ","), ""})
	}
	switch {
	case len(s.Eval) > 0:
		out = append(out, Line{"eval_dataset", strings.Join(s.Eval, ","), evalSays(r)}, Line{"do_eval", "true", "evaluate when training ends"})
	case r.Eval && s.ValSize != "":
		out = append(out, Line{"val_size", s.ValSize, "rows held out for evaluation; or set eval_dataset"})
	case r.Kind == Eval:
		out = append(out, Line{"eval_dataset", strings.Join(s.Dataset, ","), ""})
	}
	if r.Kind == Eval {
		out = slices.DeleteFunc(out, func(l Line) bool { return l.Key == "do_eval" })
	}
	return append(out, Line{"cutoff_len", strconv.Itoa(s.Cutoff), "longer rows are truncated"})
}

func evalSays(r Recipe) string {
	if r.Eval {
		return "the rows that the chosen ones should help with"
	}
	return ""
}

// decides are the keys added by DataFlex.
func (r Recipe) decides(s Settings) []Line {
	if r.Kind == Plain {
		return nil
	}
	out := []Line{
		{"train_type", string(r.Kind), ""},
		{"components_cfg_file", "{here}components.yaml", "the component's parameters"},
		{"component_name", r.Component, ""},
	}
	switch r.Kind {
	case Select:
		out = append(out, Line{"warmup_step", strconv.Itoa(s.Warmup), "steps on random rows before the first selection"},
			Line{"update_step", strconv.Itoa(s.Update), "steps per selection"},
			Line{"update_times", strconv.Itoa(s.Updates), "selections"})
	case Mix:
		out = append(out, Line{"mixture_sample_rule", "uniform", "equal shares at the start"},
			Line{"warmup_step", strconv.Itoa(s.Warmup), "steps before the first decision"},
			Line{"update_step", strconv.Itoa(s.Update), "steps per mixture"},
			Line{"update_times", strconv.Itoa(s.Updates), "decisions"})
	case Lego:
		out = append(out, Line{"warmup_step", strconv.Itoa(s.Warmup), "steps on random rows before the first decision"},
			Line{"update_step", strconv.Itoa(s.Update), "steps per window"},
			Line{"update_times", strconv.Itoa(s.Updates), "windows"})
	case Order:
		if slices.ContainsFunc(r.Params, func(l Line) bool { return l.Key == "kind" && l.Value == "dynamic" }) {
			out = append(out, Line{"warmup_step", strconv.Itoa(s.Warmup), "steps on random rows before the first order"},
				Line{"update_step", strconv.Itoa(s.Update), "steps after which the remaining rows are scored again"})
		}
	}
	return out
}

// merge merges the recipe's own keys into the usual ones: they replace those of the same name,
// the others are appended to the recipe's own section.
func (r Recipe) merge(sections []section) []section {
	placed := map[string]bool{}
	for i, sec := range sections {
		var lines []Line
		for _, l := range sec.lines {
			if k := slices.IndexFunc(r.Keys, func(k Line) bool { return k.Key == l.Key }); k >= 0 {
				placed[l.Key] = true
				l = r.Keys[k]
			}
			if l.Value != "" {
				lines = append(lines, l)
			}
		}
		sections[i].lines = lines
	}
	for _, k := range r.Keys {
		if !placed[k.Key] && k.Value != "" {
			sections[1].lines = append(sections[1].lines, k)
		}
	}
	return sections
}

// writeLines writes keys with aligned comments.
func writeLines(b *strings.Builder, indent string, lines []Line, s Settings) {
	const widest = 34
	wide := 0
	text := make([]string, len(lines))
	for i, l := range lines {
		if l.Key == "" {
			continue
		}
		text[i] = strings.Replace(strings.TrimRight(fmt.Sprintf("%s%s: %s", indent, l.Key, s.fill(l.Value)), " "), ": \n", ":\n", 1)
		if l.Comment != "" && len(text[i]) <= len(indent)+widest {
			wide = max(wide, len(text[i]))
		}
	}
	for i, l := range lines {
		comment := s.fill(l.Comment)
		switch {
		case l.Key == "":
			fmt.Fprintf(b, "%s# %s\n", indent, comment)
		case comment == "":
			b.WriteString(text[i] + "\n")
		default:
			fmt.Fprintf(b, "%-*s  # %s\n", wide, text[i], comment)
		}
	}
}

// Components writes a components.yaml with the entries of recipes.
func Components(recipes []Recipe, s Settings) string {
	var b strings.Builder
	b.WriteString("# The methods' parameters. A training configuration names this file with components_cfg_file and an\n" +
		"# entry with component_name. Besides its params every entry may have\n" +
		"#   mode: faithful   what the method's paper says (the default)\n" +
		"#   mode: upstream   what OpenDCAI/DataFlex does, to compare results one to one\n" +
		"# A parameter that is left out has the value noted as its default.\n")
	for _, bucket := range buckets {
		seen := map[string]bool{}
		for _, r := range recipes {
			if r.Kind != bucket.kind || r.Component == "" || seen[r.Component] {
				continue
			}
			if len(seen) == 0 {
				fmt.Fprintf(&b, "\n# %s\n%s:\n", bucket.what, bucket.name)
			} else {
				b.WriteString("\n")
			}
			seen[r.Component] = true
			r.component(&b, s)
		}
	}
	return b.String()
}

func (r Recipe) component(b *strings.Builder, s Settings) {
	fmt.Fprintf(b, "  # %s\n", r.Does)
	if r.Paper != "" {
		fmt.Fprintf(b, "  # %s\n", r.Paper)
	}
	fmt.Fprintf(b, "  %s:\n    name: %s\n", r.Component, r.Component)
	if len(r.Params) > 0 {
		b.WriteString("    params:\n")
		writeLines(b, "      ", r.Params, s)
	}
}

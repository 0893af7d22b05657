package config

import (
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/yamlfile"
)

// Status is how a key is treated.
type Status uint8

const (
	// Honoured keys have the effect that upstream documents.
	Honoured Status = iota
	// Ignored keys are accepted and have no effect here; Key.Note gives the reason.
	Ignored
	// Refused keys are an error unless they are null, false or their default;
	// Key.Note gives the reason and the way out.
	Refused
)

// Type is the type of a key's values.
type Type string

// The types of values.
const (
	Bool   Type = "bool"
	Int    Type = "int"
	Float  Type = "float"
	Text   Type = "string"
	List   Type = "list"   // of strings, or one string with commas
	Floats Type = "floats" // a list of numbers, or one string with commas
	Map    Type = "map"    // or a string holding JSON
	Mixed  Type = "any"
)

// Key is a row of the table of all keys of upstream.
type Key struct {
	Name    string
	Group   string // Model, Data, Finetuning, Training, Generating, DataFlex, Export
	Type    Type
	Default string   // in YAML
	Choices []string // nil = any value
	Status  Status
	Unmet   bool // of an ignored key: the user goes without its function
	Note    string
	Help    string // for honoured keys

	bind func(*Config) any // the field of an honoured key
}

// Keys returns the table, in the order of upstream's argument groups.
func Keys() []Key { return append([]Key(nil), table...) }

var (
	table    []Key
	index    = map[string]int{}
	names    []string
	honoured []string // of the names
)

func init() {
	for _, part := range [][]Key{modelKeys(), dataKeys(), tuningKeys(), dynamicKeys(), trainingKeys(), generatingKeys(), exportKeys()} {
		for _, k := range part {
			if _, dup := index[k.Name]; dup {
				panic("config: key " + k.Name + " is listed twice")
			}
			index[k.Name] = len(table)
			table = append(table, k)
			names = append(names, k.Name)
			if k.Status == Honoured {
				honoured = append(honoured, k.Name)
			}
		}
	}
}

func lookup(name string) (Key, bool) {
	i, ok := index[name]
	if !ok {
		return Key{}, false
	}
	return table[i], true
}

// group builds a part of the table.
type group struct {
	name string
	keys []Key
}

// honour adds a key that is read into the field that bind returns. help may end in "[a b
// c]", the allowed values.
func (g *group) honour(name string, t Type, def, help string, bind func(*Config) any) {
	k := Key{Name: name, Group: g.name, Type: t, Default: def, Help: help, bind: bind}
	if open := strings.LastIndex(help, " ["); open >= 0 && strings.HasSuffix(help, "]") {
		k.Help, k.Choices = help[:open], strings.Fields(help[open+2:len(help)-1])
	}
	g.keys = append(g.keys, k)
}

// ignore adds keys, each "name type default", that have no effect for the same reason.
func (g *group) ignore(note string, specs ...string) { g.add(Ignored, note, specs) }

// unmet adds keys that have no effect although the user would miss their function; note tells
// another way to get it.
func (g *group) unmet(note string, specs ...string) {
	from := len(g.keys)
	g.add(Ignored, note, specs)
	for i := range g.keys[from:] {
		g.keys[from+i].Unmet = true
	}
}

// refuse adds keys that are an error when set, for the same reason.
func (g *group) refuse(note string, specs ...string) { g.add(Refused, note, specs) }

func (g *group) add(s Status, note string, specs []string) {
	for _, spec := range specs {
		f := strings.Fields(spec)
		g.keys = append(g.keys, Key{Name: f[0], Group: g.name, Type: Type(f[1]), Default: strings.Join(f[2:], " "), Status: s, Note: note})
	}
}

const (
	formatV1        = "LLaMA-Factory's v1 format, which is not read here: write it as its v0 examples are, with model_name_or_path, dataset and so on"
	otherComponents = "a components file: name it with components_cfg_file in the training configuration"
	megatron        = "Megatron's settings, which are not supported here: remove them; deepspeed or fsdp shares a run's state out among processes"
	otherEval       = "it belongs to LLaMA-Factory's eval: `dataflex-cli eval FILE --mmlu DIR` measures MMLU"
)

// otherFiles are keys by which other kinds of files are recognised.
var otherFiles = func() map[string]string {
	files := map[string]string{
		"model": formatV1, "train_dataset": formatV1,
		"compute_environment": "an accelerate configuration: give the training configuration instead",
		"services":            "a docker compose file: give the training configuration instead",
		"selectors":           otherComponents, "mixers": otherComponents, "weighters": otherComponents,
	}
	for _, key := range []string{
		"tensor_model_parallel_size", "pipeline_model_parallel_size", "expert_model_parallel_size", "context_parallel_size",
		"virtual_pipeline_model_parallel_size", "sequence_parallel", "recompute_granularity", "recompute_method", "recompute_num_layers",
		"account_for_embedding_in_pipeline_split", "account_for_loss_in_pipeline_split", "bias_activation_fusion", "apply_rope_fusion",
		"masked_softmax_fusion", "cross_entropy_loss_fusion", "moe_grouped_gemm", "moe_token_dispatcher_type", "calculate_per_token_loss",
		"use_distributed_optimizer", "overlap_param_gather", "overlap_grad_reduce", "use_packed_sequences", "mixed_precision",
		"megatron_pretrained_checkpoint", "export_hf_on_finish", "extra_config",
	} {
		files[key] = megatron
	}
	return files
}()

// otherVersions are former keys of LLaMA-Factory, and keys of other commands and tools.
var otherVersions = map[string]string{
	"evaluation_strategy": "it was renamed: write eval_strategy",
	"max_seq_length":      "it belongs to another tool: write cutoff_len",
	"batch_size":          "write per_device_train_batch_size, or per_device_eval_batch_size",
	"task":                otherEval, "task_dir": otherEval, "lang": otherEval, "n_shot": otherEval, "save_dir": otherEval, "download_mode": otherEval,
}

// otherFile recognises files that are not training configurations.
func otherFile(root *yamlfile.Value) error {
	for _, e := range root.Entries() {
		if what, ok := otherFiles[e.Key]; ok {
			return e.Pos.Errorf("unknown key %q: it belongs to %s", e.Key, what)
		}
	}
	entries := root.Entries()
	other := func(e yamlfile.Entry) bool { return !strings.HasPrefix(e.Key, "<") || !strings.HasSuffix(e.Key, ">") }
	if len(entries) == 0 || slices.ContainsFunc(entries, other) {
		return nil
	}
	return entries[0].Pos.Errorf("unknown key %q: it looks like a token: name a file of new tokens with new_special_tokens_config in the training configuration", entries[0].Key)
}

// unknown makes the error for a key that is not in the table.
func unknown(e yamlfile.Entry) error {
	if why, ok := otherVersions[e.Key]; ok {
		return e.Pos.Errorf("unknown key %q: %s", e.Key, why)
	}
	if strings.HasPrefix(e.Key, "-") {
		return e.Pos.Errorf("unknown key %q: a key has no dashes before it", e.Key)
	}
	near, ok := Suggest(e.Key, honoured)
	if !ok {
		near, ok = yamlfile.Nearest(e.Key, names)
	}
	if !ok {
		return e.Pos.Errorf("unknown key %q", e.Key)
	}
	return e.Pos.Errorf("unknown key %q: did you mean %s?", e.Key, near)
}

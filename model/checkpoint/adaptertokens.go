package checkpoint

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// tokensType is the peft_type of adapters that only train rows of tokens.
const tokensType = "TRAINABLE_TOKENS"

// tokensOnly reads the config of such an adapter (peft 0.18,
// tuners/trainable_tokens/config.py). It is written as it was read.
func (f *fields) tokensOnly() (*AdapterConfig, error) {
	const key = "token_indices"
	c := &AdapterConfig{TokensOnly: true, BaseModel: f.string("base_model_name_or_path", ""), kept: f.raw}
	if f.raw["target_modules"] == nil {
		c.Targets = []string{"embed_tokens"} // in the models supported here: PEFT uses the input embeddings
	} else {
		c.targets = f.targets(c)
	}
	if c.tokens = f.rows(key); len(c.tokens) == 0 && f.err == nil {
		f.fail("%s has no token", key)
	}
	return c, f.err
}

// PEFTPrefix is the path from PEFT's wrapper to the model's modules.
const PEFTPrefix = "base_model.model."

// Tables are the modules of the two tables of the vocabulary.
type Tables struct{ Embedding, Head string }

// TablesOf returns the tables of a model type.
func TablesOf(modelType string) Tables {
	if t := families[modelType].tables; t.Embedding != "" {
		return t
	}
	return Tables{"model.embed_tokens", "lm_head"}
}

// Tables are the modules of the model's two tables of the vocabulary.
func (c *ModelConfig) Tables() Tables {
	if c.Multimodal != nil {
		return c.Multimodal.Tables()
	}
	return TablesOf(c.ModelType)
}

// Paths returns both, the embeddings first.
func (t Tables) Paths() []string { return []string{t.Embedding, t.Head} }

// Names returns their last components, by which target_modules names them.
func (t Tables) Names() []string {
	last := func(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
	return []string{last(t.Embedding), last(t.Head)}
}

// TableNames are the names under which PEFT saves a table beside its adapter: unchanged,
// with LoRA or only rows of tokens on it, with rows of tokens besides LoRA.
func TableNames(path string) []string {
	return []string{PEFTPrefix + path + ".weight", PEFTPrefix + path + ".base_layer.weight", PEFTPrefix + path + ".token_adapter.base_layer.weight"}
}

// TokenRows are rows of a table, the embeddings or the head, that are trained separately.
type TokenRows struct {
	Path  string // of the table's module
	Index []int32
	Name  string // of their tensor in the adapter's file
}

// TokensName is the name under which the rows of a table are saved.
func (c *AdapterConfig) TokensName(path string) string {
	if c.TokensOnly {
		return PEFTPrefix + path + ".trainable_tokens_delta"
	}
	return PEFTPrefix + path + ".token_adapter.trainable_tokens_delta"
}

// tokens reads trainable_token_indices.
func (f *fields) tokens() []TokenRows { return f.rows("trainable_token_indices") }

// rows reads a list of tokens of the embeddings, or such lists by the modules' names.
func (f *fields) rows(key string) (all []TokenRows) {
	rows := func(from *fields, key, path string) {
		one := TokenRows{Path: path}
		for _, i := range from.ints(key) {
			if i < 0 || i > math.MaxInt32 {
				f.fail("%s has the token %d", key, i)
				return
			}
			one.Index = append(one.Index, int32(i))
		}
		if len(one.Index) > 0 {
			all = append(all, one)
		}
	}
	switch v := f.raw[key].(type) {
	case nil:
	case []any:
		rows(f, key, "")
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			one := &fields{path: f.path, raw: map[string]any{key + "." + name: v[name]}}
			if rows(one, key+"."+name, name); one.err != nil && f.err == nil {
				f.err = one.err
			}
		}
	default:
		f.fail("%s is neither a list of tokens nor lists by modules' names", key)
	}
	return all
}

// Tokens are the rows trained by trainable_token_indices, or by an adapter that trains
// nothing else; w is the adapter's file and tied is true if the model's head is tied to the
// embeddings. In trainable_token_indices PEFT names modules by any suffix of their paths.
func (c *AdapterConfig) Tokens(w *Weights, on Tables, tied bool) ([]TokenRows, error) {
	all, err := c.tables(on)
	if err != nil {
		return nil, err
	}
	if tied && c.tiesLoRA(on) {
		return nil, fmt.Errorf("ensure_weight_tying is true and target_modules %s names the embeddings or the head of a tied model: peft %s keeps their adapters one, peft 0.18 and this program do not; merge it into its base model with PEFT (merge_and_unload) and train on that", c.TargetText(), c.Version)
	}
	for i, rows := range all {
		all[i].Name = c.TokensName(rows.Path)
		switch {
		case slices.ContainsFunc(all[:i], func(r TokenRows) bool { return r.Path == rows.Path }):
			return nil, fmt.Errorf("trainable_token_indices names %s twice", rows.Path)
		case slices.ContainsFunc(c.ModulesToSave, func(n string) bool { return strings.HasSuffix(rows.Path, n) }):
			return nil, fmt.Errorf("trainable_token_indices names rows of %s, which modules_to_save trains in full", rows.Path)
		}
	}
	// peft 0.21 keeps equal rows of both tables of a tied model only once, and the head
	// shares them.
	if len(all) == 2 && tied && slices.Equal(all[0].Index, all[1].Index) {
		if _, own := w.Shape(all[1].Name); !own {
			all = all[:1]
		}
	}
	return all, nil
}

// tiesLoRA reports whether the PEFT version that wrote the adapter keeps LoRA on both tables
// of a tied model tied, as versions after 0.18 do on request.
func (c *AdapterConfig) tiesLoRA(on Tables) bool {
	return c.after018() && c.TieWeights && !c.TokensOnly && (c.Adapts(on.Embedding, false) || c.Adapts(on.Head, false))
}

// tables returns the rows with the full paths of their tables, the embeddings first.
func (c *AdapterConfig) tables(on Tables) (all []TokenRows, err error) {
	for _, path := range on.Paths() {
		for _, rows := range c.tokens {
			named := rows.Path == "" && path == on.Embedding || rows.Path != "" && strings.HasSuffix(path, rows.Path)
			if c.TokensOnly {
				named = c.Adapts(path, false)
			}
			if named {
				all = append(all, TokenRows{Path: path, Index: rows.Index})
			}
		}
	}
	for _, rows := range c.tokens {
		if rows.Path != "" && !strings.HasSuffix(on.Embedding, rows.Path) && !strings.HasSuffix(on.Head, rows.Path) {
			return nil, fmt.Errorf("trainable_token_indices names %s, but only rows of %s and %s can be trained", rows.Path, on.Embedding, on.Head)
		}
	}
	return all, nil
}

// SavesEmbeddings reports whether PEFT saves the embeddings and the head together with
// adapters on them (utils/save_and_load.py, save_embedding_layers): if a list of targets has
// one of these names, or an expression matches one.
func (c *AdapterConfig) SavesEmbeddings(on Tables) bool {
	if c.TokensOnly || c.kept["trainable_token_indices"] != nil || c.TargetPattern == allLinear {
		return false
	}
	if c.targets.pattern != nil {
		return c.targets.pattern.MatchString(on.Embedding) || c.targets.pattern.MatchString(on.Head)
	}
	return slices.ContainsFunc(on.Names(), func(name string) bool { return slices.Contains(c.Targets, name) })
}

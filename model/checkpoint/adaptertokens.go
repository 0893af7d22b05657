package checkpoint

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// tokensType is the peft_type of adapters of nothing but tokens' rows.
const tokensType = "TRAINABLE_TOKENS"

// tokensOnly reads such an adapter's config (peft 0.18, tuners/trainable_tokens/config.py).
// It is written as it was read.
func (f *fields) tokensOnly() (*AdapterConfig, error) {
	const key = "token_indices"
	c := &AdapterConfig{TokensOnly: true, BaseModel: f.string("base_model_name_or_path", ""), kept: f.raw}
	if f.raw["target_modules"] == nil {
		c.Targets = []string{"embed_tokens"} // of the models that are read here: PEFT takes the input embeddings
	} else {
		c.targets = f.targets(c)
	}
	if c.tokens = f.rows(key); len(c.tokens) == 0 && f.err == nil {
		f.fail("%s has no token", key)
	}
	return c, f.err
}

// TokenRows are rows of a table, the embeddings or the head, that train by themselves.
type TokenRows struct {
	Path  string // of the table's module
	Index []int32
}

// tokens reads trainable_token_indices.
func (f *fields) tokens() []TokenRows { return f.rows("trainable_token_indices") }

// rows reads a list of tokens, of the embeddings, or lists by modules' names.
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

// Tokens are the rows that trainable_token_indices, or an adapter of nothing else, trains
// of a model with embeddings and a head of those paths. PEFT names modules by any ends of
// their paths in the former.
func (c *AdapterConfig) Tokens(embeddings, head string) (all []TokenRows, err error) {
	if c.TokensOnly {
		for _, path := range []string{embeddings, head} {
			if c.Adapts(path, false) {
				all = append(all, TokenRows{path, c.tokens[0].Index})
			}
		}
		return all, nil
	}
	for _, rows := range c.tokens {
		hit := false
		for _, path := range []string{embeddings, head} {
			if (rows.Path == "" && path == embeddings) || (rows.Path != "" && strings.HasSuffix(path, rows.Path)) {
				all, hit = append(all, TokenRows{path, rows.Index}), true
			}
		}
		if !hit {
			return nil, fmt.Errorf("trainable_token_indices names %s, and rows train by themselves of %s and %s alone", rows.Path, embeddings, head)
		}
	}
	for i, rows := range all {
		switch {
		case slices.ContainsFunc(all[:i], func(r TokenRows) bool { return r.Path == rows.Path }):
			return nil, fmt.Errorf("trainable_token_indices names %s twice", rows.Path)
		case slices.ContainsFunc(c.ModulesToSave, func(n string) bool { return strings.HasSuffix(rows.Path, n) }):
			return nil, fmt.Errorf("trainable_token_indices names rows of %s, which modules_to_save trains in full", rows.Path)
		}
	}
	return all, nil
}

// SavesEmbeddings reports whether PEFT saves the embeddings and the head beside adapters
// that are on them (utils/save_and_load.py, save_embedding_layers): where a list of
// targets has one of these names, or an expression matches one.
func (c *AdapterConfig) SavesEmbeddings() bool {
	if c.TokensOnly || c.kept["trainable_token_indices"] != nil || c.TargetPattern == allLinear {
		return false
	}
	if c.targets.pattern != nil {
		return c.targets.pattern.MatchString("model.embed_tokens") || c.targets.pattern.MatchString("lm_head")
	}
	return slices.Contains(c.Targets, "embed_tokens") || slices.Contains(c.Targets, "lm_head")
}

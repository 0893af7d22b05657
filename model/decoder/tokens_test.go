package decoder

import (
	"slices"
	"testing"

	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/checkpoint"
)

// An adapter trained with added tokens enlarges the vocabulary of the model that loads it, tied
// or not, and the merged model computes the same.
func TestAdapterBringsItsVocabulary(t *testing.T) {
	for _, tied := range []string{"true", "false"} {
		m := fresh(t, tinyConfig+`, "tie_word_embeddings": `+tied+`}`)
		base, dir := t.TempDir(), t.TempDir()
		if err := m.SaveFull(base); err != nil {
			t.Fatal(err)
		}
		if err := m.ResizeVocab(70, normal()); err != nil {
			t.Fatal(err)
		}
		adapt(t, m, LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}, ModulesToSave: []string{"embed_tokens", "lm_head"}})
		b := Batch{Tokens: []int32{60, 3, 66}, Targets: []int32{3, 66, -1}}
		want, err := m.Losses(b, 0)
		if err != nil {
			t.Fatal(err)
		}
		want = slices.Clone(want)
		if err := m.SaveAdapter(dir); err != nil {
			t.Fatal(err)
		}
		again := open(t, 1, base)
		if err := again.LoadAdapter(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := again.Losses(b, 0); err != nil || !slices.Equal(got, want) || again.Config().Vocab != 128 {
			t.Errorf("tied %s: other losses with a vocabulary of %d (%v)", tied, again.Config().Vocab, err)
		}
		// If only the embeddings are trained, PEFT also saves the enlarged head.
		m = open(t, 1, base)
		if err := m.ResizeVocab(70, normal()); err != nil {
			t.Fatal(err)
		}
		adapt(t, m, LoRA{Rank: 2, Alpha: 4, Targets: []string{"all"}, ModulesToSave: []string{"embed_tokens"}})
		if want, err = m.Losses(b, 0); err != nil {
			t.Fatal(err)
		}
		want = slices.Clone(want)
		if err := m.SaveAdapter(dir); err != nil {
			t.Fatal(err)
		}
		again = open(t, 1, base)
		if err := again.LoadAdapter(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := again.Losses(b, 0); err != nil || !slices.Equal(got, want) {
			t.Errorf("tied %s, embeddings alone: other losses (%v)", tied, err)
		}
	}
}

// PEFT's ensure_weight_tying keeps a tied head tied to the embeddings; without it an adapter's
// own embeddings separate them.
func TestTiedAdapters(t *testing.T) {
	base := unpacked(t)
	for _, tie := range []bool{true, false} {
		m, dir := open(t, 1, base), t.TempDir()
		if !m.config.Tied {
			t.Fatal("the model is not tied")
		}
		l := LoRA{Rank: 2, Alpha: 4, Targets: []string{"q_proj"}, ModulesToSave: []string{"embed_tokens"}, TieWeights: tie}
		mods, err := m.match(l)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.attach(l, mods, func(string) (int, float32) { return 2, 2 }); err != nil {
			t.Fatal(err)
		}
		w := m.embed.Data.Host()
		for i := range w {
			w[i] *= 1.5
		}
		b := ragged(m)
		want, _ := m.Losses(b, 0)
		want = slices.Clone(want)
		if err := m.SaveAdapter(dir); err != nil {
			t.Fatal(err)
		}
		again := open(t, 1, base)
		if err := again.LoadAdapter(dir); err != nil {
			t.Fatal(err)
		}
		if got, _ := again.Losses(b, 0); !slices.Equal(got, want) || again.tied() != tie {
			t.Errorf("tie %v: other losses, or the head is not as it was", tie)
		}
	}
}

// After full training config.json has the rope scaling with which the model was trained.
func TestSavedPositions(t *testing.T) {
	dir := t.TempDir()
	m, err := Load(open(t, 1, unpacked(t)).dev, unpacked(t), Options{Rope: &rope.Scaling{Type: "yarn", Factor: 4, OriginalMax: 512}, MaxPositions: 2048})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	m.SetSpecialTokens(checkpoint.SpecialTokens{BOS: -1, EOS: 5, Pad: 6})
	if err := m.SaveFull(dir); err != nil {
		t.Fatal(err)
	}
	c, err := checkpoint.ReadModelConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if s := c.RopeScaling; c.MaxPositionEmbeddings != 2048 || s == nil || s.Type != "yarn" || s.Factor != 4 || s.OriginalMaxPositionEmbeddings != 512 {
		t.Errorf("%d positions, rope_scaling %+v", c.MaxPositionEmbeddings, s)
	}
	if !slices.Equal(c.EOSTokenIDs, []int{5}) || c.PadTokenID != 6 || c.BOSTokenID != -1 {
		t.Errorf("tokens %v %d %d", c.EOSTokenIDs, c.PadTokenID, c.BOSTokenID)
	}
	b := ragged(m)
	want, _ := m.Losses(b, 0)
	want = slices.Clone(want)
	if got, _ := open(t, 1, dir).Losses(b, 0); !slices.Equal(got, want) {
		t.Error("the saved model computes something else")
	}
}

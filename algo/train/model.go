package train

import (
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// loadModel reads the base model, or makes one of its shape, fits its vocabulary
// to the tokenizer, and makes trainable what finetuning_type says.
func (t *session) loadModel() error {
	c := t.Config
	options, err := RopeScaling(c, t.log)
	if err != nil {
		return err
	}
	options.Name = c.Model.Name
	options.BF16 = c.Training.BF16 || c.Tuning.PureBF16
	load := func() (*decoder.Model, error) { return decoder.Load(t.device, c.Model.NameOrPath, options) }
	if c.Model.TrainFromScratch {
		load = func() (*decoder.Model, error) { return decoder.Init(t.device, c.Model.NameOrPath, options, t.normal()) }
	}
	if t.model, err = load(); err != nil {
		return c.Errorf("model_name_or_path", "%w", err)
	}
	t.model.SetSpecialTokens(t.specialTokens())
	if err := t.fitVocabulary(); err != nil {
		return err
	}
	if err := t.keepGates(); err != nil {
		return err
	}
	switch c.Tuning.FinetuningType {
	case config.Full:
		err = t.model.Train(t.trains)
	case config.Freeze:
		err = t.freeze()
	case config.LoRA:
		err = t.adapt()
	}
	if err != nil {
		return err
	}
	for _, note := range t.model.Notes() {
		t.log.Warn(note)
	}
	t.params = t.model.Trainable()
	if len(t.params) == 0 {
		return c.Errorf("finetuning_type", "nothing of the model would be trained")
	}
	return nil
}

// specialTokens are the tokenizer's, as the template left them.
func (t *session) specialTokens() checkpoint.SpecialTokens {
	id := func(_ string, id int32, ok bool) int {
		if !ok {
			return -1
		}
		return int(id)
	}
	return checkpoint.SpecialTokens{BOS: id(t.tokenizer.BOS()), EOS: id(t.tokenizer.EOS()), Pad: id(t.tokenizer.Pad())}
}

// normal is the stream of fresh weights.
func (t *session) normal() func() float64 {
	stream := rng.NewTorch(uint64(t.Config.Training.Seed))
	buf := make([]float32, 0, 4096)
	return func() float64 {
		if len(buf) == 0 {
			buf = buf[:cap(buf)]
			stream.Normal(buf, 0, 1)
		}
		x := buf[0]
		buf = buf[1:]
		if len(buf) == 0 {
			buf = make([]float32, 0, 4096)
		}
		return float64(x)
	}
}

// fitVocabulary enlarges the embeddings to the tokenizer where resize_vocab asks
// for it, and refuses tokens the model has no embedding for where it does not.
func (t *session) fitVocabulary() error {
	c := t.Config
	n, have := t.tokenizer.Len(), t.model.Config().Vocab
	if n <= have {
		return nil
	}
	if !c.Model.ResizeVocab {
		return c.Errorf("template", "the tokenizer has %d tokens with it, the model's vocabulary %d: set resize_vocab: true, or choose the model's own template", n, have)
	}
	if err := t.model.ResizeVocab(n, t.normal()); err != nil {
		return c.Errorf("resize_vocab", "%w", err)
	}
	t.log.Info("the vocabulary was enlarged", "from", have, "to", t.model.Config().Vocab)
	return nil
}

// RopeScaling is what rope_scaling makes of the model, LLaMA-Factory's way: positions are
// stretched to cutoff_len when it is past what the model was trained on.
func RopeScaling(c *config.Config, log *slog.Logger) (decoder.Options, error) {
	if c.Model.RopeScaling == "" {
		return decoder.Options{}, nil
	}
	m, err := checkpoint.ReadModelConfig(c.Model.NameOrPath)
	if err != nil {
		return decoder.Options{}, c.Errorf("model_name_or_path", "%w", err)
	}
	old := m.MaxPositionEmbeddings
	if m.RopeScaling != nil && m.RopeScaling.OriginalMaxPositionEmbeddings > 0 {
		old = m.RopeScaling.OriginalMaxPositionEmbeddings
	}
	if c.Data.CutoffLen <= old {
		log.Warn("rope_scaling is not needed and left off: cutoff_len is within the model's positions", "cutoff_len", c.Data.CutoffLen, "positions", old)
		return decoder.Options{}, nil
	}
	factor := math.Ceil(float64(c.Data.CutoffLen) / float64(old))
	s := rope.Scaling{Type: c.Model.RopeScaling, Factor: factor, OriginalMax: old}
	if s.Type == "llama3" {
		s.LowFreqFactor, s.HighFreqFactor = 1, 4
	}
	log.Info("rope_scaling", "type", s.Type, "factor", factor)
	return decoder.Options{Rope: &s, MaxPositions: int(float64(old) * factor)}, nil
}

// adapt puts LoRA on the model: the saved adapter that adapter_name_or_path names
// last is trained on, the ones before it are merged; else a new one is made.
func (t *session) adapt() error {
	c := t.Config
	vocab := t.model.Config().Vocab
	for i, dir := range c.Model.AdapterNameOrPath {
		if err := t.model.LoadAdapter(filepath.Join(dir, c.Model.AdapterFolder)); err != nil {
			return c.Errorf("adapter_name_or_path", "%w", err)
		}
		if n := t.model.Config().Vocab; n > vocab {
			return c.Errorf("adapter_name_or_path", "the adapter in %s was trained with a vocabulary of %d, and the tokenizer here has %d tokens: give the add_tokens and add_special_tokens that it was trained with", dir, n, t.tokenizer.Len())
		}
		if last := i == len(c.Model.AdapterNameOrPath)-1; last && !c.Tuning.CreateNewAdapter {
			return t.gatesKept()
		}
		if err := t.model.Merge(); err != nil {
			return c.Errorf("adapter_name_or_path", "%w", err)
		}
	}
	stream := rng.NewTorch(uint64(c.Training.Seed))
	err := t.model.AddLoRA(decoder.LoRA{
		Rank: c.Tuning.LoRARank, Alpha: c.Tuning.LoRAAlpha, Dropout: c.Tuning.LoRADropout, RSLoRA: c.Tuning.UseRSLoRA, Targets: c.Tuning.LoRATarget,
		DoRA: c.Tuning.UseDoRA, PiSSA: pissaName(c.Tuning), ModulesToSave: t.additionalTarget(), Exclude: t.isGate,
	}, stream.Double)
	if err != nil {
		return c.Errorf("lora_target", "%w", err)
	}
	return nil
}

// additionalTarget is what trains in full beside adapters: as in LLaMA-Factory the
// embeddings and the head, where resize_vocab makes room for tokens that they are to learn.
func (t *session) additionalTarget() []string {
	c := t.Config
	if !c.Model.ResizeVocab || len(c.Tuning.AdditionalTarget) > 0 {
		return c.Tuning.AdditionalTarget
	}
	t.log.Warn("the vocabulary may grow with resize_vocab, as it does with added tokens: embed_tokens and lm_head are trained and saved beside the adapter; additional_target names others")
	return []string{"embed_tokens", "lm_head"}
}

// pissaName is PEFT's name of the start that pissa_init asks for; "" = the usual one.
func pissaName(t config.Tuning) string {
	switch {
	case !t.PiSSAInit:
		return ""
	case t.PiSSAIter == -1:
		return "pissa"
	}
	return fmt.Sprintf("pissa_niter_%d", t.PiSSAIter)
}

// freeze trains the parameters of some layers, and of what stands outside the
// layers: LLaMA-Factory's freeze tuning. As there, a name trains that has one of the
// patterns in it: freeze_extra_modules: norm also trains every layer's norms.
func (t *session) freeze() error {
	c := t.Config
	inside, outside := map[string]bool{}, map[string]bool{}
	patterns := append(t.layerPatterns(), c.Tuning.FreezeExtraModules...)
	train := func(name string) bool {
		if m := inLayer.FindStringSubmatch(name); m != nil {
			inside[m[1]] = true
		} else {
			parts := strings.Split(name, ".")
			outside[parts[max(0, len(parts)-2)]] = true
		}
		return slices.ContainsFunc(patterns, func(p string) bool { return strings.Contains(name, p) })
	}
	if err := t.model.Train(func(name string) bool { return train(name) && t.trains(name) }); err != nil {
		return c.Errorf("freeze_trainable_layers", "%w", err)
	}
	for _, m := range c.Tuning.FreezeTrainableModules {
		if m != "all" && !inside[m] {
			return c.Errorf("freeze_trainable_modules", "module %s is not found, please choose from %s", m, strings.Join(sortedKeys(inside), ", "))
		}
	}
	for _, m := range c.Tuning.FreezeExtraModules {
		if !outside[m] {
			return c.Errorf("freeze_extra_modules", "module %s is not found outside the layers, please choose from %s", m, strings.Join(sortedKeys(outside), ", "))
		}
	}
	return nil
}

var inLayer = regexp.MustCompile(`\.layers\.\d+\.([^.]+)`)

// layerPatterns are what the names of the parameters in the trained layers have in them.
func (t *session) layerPatterns() []string {
	c, layers := t.Config, t.model.Config().Layers
	lo, hi := max(0, layers-c.Tuning.FreezeTrainableLayers), layers
	if c.Tuning.FreezeTrainableLayers <= 0 {
		lo, hi = 0, min(layers, -c.Tuning.FreezeTrainableLayers)
	}
	var patterns []string
	for _, m := range c.Tuning.FreezeTrainableModules {
		if m == "all" {
			m = ""
		}
		for id := lo; id < hi; id++ {
			patterns = append(patterns, fmt.Sprintf(".%d.%s", id, m))
		}
	}
	return patterns
}

func sortedKeys(set map[string]bool) []string {
	var out []string
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

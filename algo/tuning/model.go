// Package tuning builds the model that a configuration describes: loaded or newly initialised,
// with the tokenizer's vocabulary, and with the trainable parameters that finetuning_type asks
// for.
package tuning

import (
	"fmt"
	"log/slog"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/rng"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/driver/plan"
	"dataflex.dev/dataflex/kernels/rope"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
)

// Model loads the base model, or initialises one of its shape, fits its vocabulary to the
// tokenizer, and makes the parameters that finetuning_type names trainable. On a device that
// only counts memory (package plan) no weights are read. Errors caused by a configuration key
// point to it. Unless shards is nil, processes share its weights out.
func Model(c *config.Config, dev driver.Device, tok *tokenizer.Tokenizer, shards *decoder.Shards, log *slog.Logger) (_ *decoder.Model, err error) {
	_, planned := dev.(*plan.Device)
	m := maker{config: c, tokenizer: tok, shards: shards, log: log, planned: planned}
	if err := m.load(dev); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			m.model.Close()
		}
	}()
	m.model.SetSpecialTokens(m.specialTokens())
	if err := m.fitVocabulary(); err != nil {
		return nil, err
	}
	if err := m.keepGates(); err != nil {
		return nil, err
	}
	if m.model.Quantised() && c.Tuning.FinetuningType != config.LoRA {
		return nil, quantisedTrain(c)
	}
	switch c.Tuning.FinetuningType {
	case config.Full:
		err = m.model.Train(m.trains)
	case config.Freeze:
		err = m.freeze()
	case config.LoRA:
		err = m.adapt()
	}
	if err != nil {
		return nil, err
	}
	for _, note := range m.model.Notes() {
		log.Warn(note)
	}
	if len(m.model.Trainable()) == 0 {
		return nil, c.Errorf("finetuning_type", "no parameter of the model would be trained")
	}
	return m.model, nil
}

// maker holds the state while a model is built.
type maker struct {
	config    *config.Config
	tokenizer *tokenizer.Tokenizer
	shards    *decoder.Shards
	log       *slog.Logger
	model     *decoder.Model
	isGate    func(module string) bool // of freeze_gate; nil where it is off
	planned   bool                     // the model holds no weights
}

// load reads the base model, or initialises one of its shape.
func (m *maker) load(dev driver.Device) error {
	c := m.config
	options, err := RopeScaling(c, m.log)
	if err != nil {
		return err
	}
	options.Name = c.Model.Name
	options.BF16, options.Planned = c.Training.BF16 || c.Tuning.PureBF16, m.planned
	options.Quantise = Quantisation(c.Model)
	options.Placed = c.Training.Sharding.Stage > 1 // where gradients are kept is decided with the number of processes
	options.Shards = m.shards
	if c.Model.TrainFromScratch {
		m.model, err = decoder.Init(dev, c.Model.NameOrPath, options, m.normal())
	} else {
		m.model, err = decoder.Load(dev, c.Model.NameOrPath, options)
	}
	if err != nil {
		return c.Errorf("model_name_or_path", "%w", err)
	}
	return nil
}

// specialTokens are the tokenizer's, after the template has adapted it.
func (m *maker) specialTokens() checkpoint.SpecialTokens {
	id := func(_ string, id int32, ok bool) int {
		if !ok {
			return -1
		}
		return int(id)
	}
	return checkpoint.SpecialTokens{BOS: id(m.tokenizer.BOS()), EOS: id(m.tokenizer.EOS()), Pad: id(m.tokenizer.Pad())}
}

// normal is the random stream of new weights.
func (m *maker) normal() func() float64 {
	stream := rng.NewTorch(uint64(m.config.Training.Seed))
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

// fitVocabulary enlarges the embeddings to the tokenizer where resize_vocab asks for it, and
// otherwise refuses tokens for which the model has no embedding.
func (m *maker) fitVocabulary() error {
	c := m.config
	n, have := m.tokenizer.Len(), m.model.Config().Vocab
	if n <= have {
		return nil
	}
	if !c.Model.ResizeVocab {
		return c.Errorf("template", "the tokenizer has %d tokens with it, the model's vocabulary %d: set resize_vocab: true, or choose the model's own template", n, have)
	}
	if err := m.model.ResizeVocab(n, m.normal()); err != nil {
		return c.Errorf("resize_vocab", "%w", err)
	}
	m.log.Info("the vocabulary was enlarged", "from", have, "to", m.model.Config().Vocab)
	return nil
}

// RopeScaling is the model's rope_scaling, as LLaMA-Factory sets it: positions are scaled to
// cutoff_len when it exceeds the length the model was trained on.
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

// adapt adds LoRA to the model: of the adapters in adapter_name_or_path the last one is trained
// further and the ones before it are merged; without any a new one is made.
func (m *maker) adapt() error {
	c := m.config
	vocab := m.model.Config().Vocab
	for i, dir := range c.Model.AdapterNameOrPath {
		if err := m.model.LoadAdapter(filepath.Join(dir, c.Model.AdapterFolder)); err != nil {
			return c.Errorf("adapter_name_or_path", "%w", err)
		}
		if n := m.model.Config().Vocab; n > vocab {
			return c.Errorf("adapter_name_or_path", "the adapter in %s was trained with a vocabulary of %d, and the tokenizer here has %d tokens: set the add_tokens and add_special_tokens that it was trained with", dir, n, m.tokenizer.Len())
		}
		if last := i == len(c.Model.AdapterNameOrPath)-1; last && !c.Tuning.CreateNewAdapter {
			if err := m.model.Continues(); err != nil {
				return c.Errorf("adapter_name_or_path", "%w", err)
			}
			return m.gatesKept()
		}
		if err := m.model.Merge(); err != nil {
			return c.Errorf("adapter_name_or_path", "%w", err)
		}
	}
	draw := rng.NewTorch(uint64(c.Training.Seed)).Double
	if m.planned {
		draw = func() float64 { return 0 } // the initial values are overwritten
	}
	err := m.model.AddLoRA(decoder.LoRA{
		Rank: c.Tuning.LoRARank, Alpha: c.Tuning.LoRAAlpha, Dropout: c.Tuning.LoRADropout, RSLoRA: c.Tuning.UseRSLoRA, Targets: c.Tuning.LoRATarget,
		DoRA: c.Tuning.UseDoRA, PiSSA: pissaName(c.Tuning), ModulesToSave: m.additionalTarget(), Exclude: m.isGate,
	}, draw)
	if err != nil {
		return c.Errorf("lora_target", "%w", err)
	}
	return nil
}

// additionalTarget is what is trained in full beside adapters: as in LLaMA-Factory the
// embeddings and the head, where resize_vocab adds tokens that have to be learned.
func (m *maker) additionalTarget() []string {
	c := m.config
	if !c.Model.ResizeVocab || len(c.Tuning.AdditionalTarget) > 0 {
		return c.Tuning.AdditionalTarget
	}
	names := checkpoint.TablesOf(m.model.Config().ModelType).Names()
	m.log.Warn(fmt.Sprintf("the vocabulary may grow with resize_vocab, as it does with added tokens: %s are trained and saved beside the adapter; additional_target names others", strings.Join(names, " and ")))
	return names
}

// pissaName is PEFT's name for the initialisation that pissa_init asks for; "" = the usual one.
func pissaName(t config.Tuning) string {
	switch {
	case !t.PiSSAInit:
		return ""
	case t.PiSSAIter == -1:
		return "pissa"
	}
	return fmt.Sprintf("pissa_niter_%d", t.PiSSAIter)
}

// freeze trains the parameters of some layers, and those outside the layers: LLaMA-Factory's
// freeze tuning. As there, a parameter is trained if its name contains one of the patterns:
// freeze_extra_modules: norm also trains every layer's norms.
func (m *maker) freeze() error {
	c := m.config
	inside, outside := map[string]bool{}, map[string]bool{}
	patterns := append(m.layerPatterns(), c.Tuning.FreezeExtraModules...)
	train := func(name string) bool {
		if inLayer.MatchString(name) {
			inside[module(name)] = true
		} else {
			outside[module(name)] = true
		}
		return slices.ContainsFunc(patterns, func(p string) bool { return strings.Contains(name, p) })
	}
	if err := m.model.Train(func(name string) bool { return train(name) && m.trains(name) }); err != nil {
		return c.Errorf("freeze_trainable_layers", "%w", err)
	}
	for _, module := range c.Tuning.FreezeTrainableModules {
		if module != "all" && !inside[module] {
			return c.Errorf("freeze_trainable_modules", "module %s is not found, please choose from %s", module, strings.Join(sortedKeys(inside), ", "))
		}
	}
	for _, module := range c.Tuning.FreezeExtraModules {
		if !outside[module] {
			return c.Errorf("freeze_extra_modules", "module %s is not found outside the layers, please choose from %s", module, strings.Join(sortedKeys(outside), ", "))
		}
	}
	return nil
}

var inLayer = regexp.MustCompile(`\.(?:layers|h)\.\d+\.([^.]+)`)

// layerPatterns are substrings of the names of the parameters in the trained layers.
func (m *maker) layerPatterns() []string {
	c, layers := m.config, m.model.Config().Layers
	lo, hi := max(0, layers-c.Tuning.FreezeTrainableLayers), layers
	if c.Tuning.FreezeTrainableLayers <= 0 {
		lo, hi = 0, min(layers, -c.Tuning.FreezeTrainableLayers)
	}
	var patterns []string
	for _, module := range c.Tuning.FreezeTrainableModules {
		if module == "all" {
			module = ""
		}
		for id := lo; id < hi; id++ {
			patterns = append(patterns, fmt.Sprintf(".%d.%s", id, module))
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

// keepGates applies freeze_gate: isGate reports whether a module, by its path, is a gate that
// must not be trained; it is nil where freeze_gate is off. Gates are the routers of a mixture
// of experts and the gates of its shared experts. Upstream's dynamic_mix matches names that
// contain "gate", and so freezes the gate_proj of every MLP as well.
func (m *maker) keepGates() error {
	c := m.config
	if !c.Dynamic.FreezeGate {
		return nil
	}
	upstream := false
	if c.Dynamic.TrainType == config.DynamicMix && !c.Dynamic.StaticMix {
		component, err := c.Component()
		if err != nil {
			return err
		}
		upstream = algo.Mode(component.Mode) == algo.Upstream
	}
	m.isGate = func(module string) bool {
		if upstream {
			return strings.Contains(module, "gate")
		}
		return slices.Contains([]string{"gate", "shared_expert_gate"}, module[strings.LastIndexByte(module, '.')+1:])
	}
	if m.model.Config().MoE.Experts == 0 && !upstream {
		m.log.Warn("freeze_gate has no effect: the model is not a mixture of experts", "model_type", m.model.Config().ModelType)
	}
	return nil
}

// trains reports whether a tensor of the base model may be trained.
func (m *maker) trains(name string) bool {
	return m.isGate == nil || !m.isGate(strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias"))
}

// gatesKept refuses to continue an adapter that trains modules frozen by freeze_gate.
func (m *maker) gatesKept() error {
	for _, p := range m.model.PairOffsets() {
		if m.isGate != nil && m.isGate(p.Name) {
			return m.config.Errorf("freeze_gate", "the adapter to be continued trains %s: set create_new_adapter: true, or leave freeze_gate out", p.Name)
		}
	}
	return nil
}

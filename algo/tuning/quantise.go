package tuning

import (
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/kernels/quant"
	"dataflex.dev/dataflex/model/checkpoint"
)

// Quantisation is how quantization_bit stores the layers' linears: in bitsandbytes' formats,
// with transformers' settings. nil = as in the folder.
func Quantisation(m config.Model) *quant.Format {
	f := quant.Format{Kind: quant.NF4, Block: quant.DefaultBlock, Double: m.DoubleQuantization}
	switch {
	case m.QuantizationBit == 0:
		return nil
	case m.QuantizationBit == 8:
		return &quant.Format{Kind: quant.Int8}
	case m.QuantizationType == "fp4":
		f.Kind = quant.FP4
	}
	return &f
}

// CheckQuantised refuses to train weights that the folder stores quantised.
func CheckQuantised(c *config.Config) error {
	if c.Tuning.FinetuningType == config.LoRA || c.Model.TrainFromScratch {
		return nil
	}
	w, err := checkpoint.OpenWeights(c.Model.NameOrPath)
	if err != nil {
		return nil // reported when the model is checked
	}
	defer w.Close()
	for _, name := range w.Names() {
		if w.Quantised(name) != "" {
			return quantisedTrain(c)
		}
	}
	return nil
}

func quantisedTrain(c *config.Config) error {
	return c.Errorf("finetuning_type", "the weights of %s are quantised and cannot be trained: set finetuning_type: lora, or name the model in bf16, fp16 or float32", c.Model.NameOrPath)
}

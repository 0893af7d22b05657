package tuning

import (
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/kernels/quant"
)

// Quantisation is how quantization_bit keeps the layers' linears: in bitsandbytes' formats,
// as transformers asks for them. nil = as the folder has them.
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

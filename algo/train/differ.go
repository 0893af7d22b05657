package train

import (
	"fmt"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
)

// differences lists where a run in mode upstream deviates from upstream, because upstream
// loses work there (spec/dataflex-1.1.md, findings 54 and 57).
func differences(component *config.Component, p Plan, c curriculum.Curriculum) (out []string) {
	if component == nil || algo.Mode(component.Mode) != algo.Upstream {
		return nil
	}
	if r, ok := c.(algo.Reducer); ok && r.Reduction() == algo.MicroMean && p.Accumulate > 1 {
		out = append(out, fmt.Sprintf("upstream does not divide DoReMi's loss by gradient_accumulation_steps: the loss and the gradient norm that it logs are %d times these", p.Accumulate))
	}
	// Hugging Face's loop counts micro-batches of the whole data set, whatever windows are
	// trained on.
	rest, every := p.microPerEpoch()%p.Accumulate, p.StepsPerEpoch()
	if p.Dynamic && rest > 0 && p.Total >= every {
		out = append(out, fmt.Sprintf("every %d steps, where a pass over the whole data set would end, upstream's step has %d of %d micro-batches, and the rest of the window's rows is dropped at its end; here every step is whole",
			every, rest, p.Accumulate))
	}
	return out
}

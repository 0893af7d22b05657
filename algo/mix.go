package algo

import (
	"context"

	"dataflex.dev/dataflex/algo/batch"
	"dataflex.dev/dataflex/data"
)

// Domain is one data set of a mixture.
type Domain struct {
	Name string
	Rows []int // positions in Run.Train, in row order
}

// MixRequest asks a Mixer for the proportions of the next window.
type MixRequest struct {
	Step   int // optimizer steps done so far
	Update int // requests so far, this one included: 1, 2, …
}

// Mixture is the answer: shares that sum to 1, one per domain.
type Mixture struct {
	Proportions []float64

	// LossWeights multiply the loss of each domain's rows; nil leaves the loss unweighted. The
	// loop normalises them to mean 1 over the rows of a step.
	LossWeights []float64
}

// Mixer decides the domains' shares of the training rows.
type Mixer interface {
	Mix(ctx context.Context, r MixRequest) (Mixture, error)
}

// StepWeigher is a mixer that weighs the domains in the loss of every step.
type StepWeigher interface {
	// StepWeights is called before the backward pass of the step after `step` finished ones,
	// with all its micro-batches. TokenLoss may be nil: the mixer then computes it. The answer
	// is one weight per domain for that domain's rows under TokenMean, or nil for an unweighted
	// loss. Their mean over the tokens of the step is 1, less the α of absent domains; they may
	// all be 0.
	StepWeights(ctx context.Context, step int, micros []MicroReport) ([]float64, error)
}

// DomainWeigher is a mixer that decides a weight of each domain in the loss instead of how many
// rows are drawn from it.
type DomainWeigher interface {
	// DomainWeights is the current weights, one per domain, which sum to 1.
	DomainWeights() []float64
}

// Starter is a mixer that starts from the run's proportions unless its component has its own.
type Starter interface {
	// SetInitial sets init_mixture_proportions; nil where the run has none.
	SetInitial(proportions []float64) error
}

// Splitter is a mixer that sets rows aside for its own evaluation.
type Splitter interface {
	// SetEval sets the rows of mixer_eval_dataset by domain name.
	SetEval(rows map[string][]data.Example)
	// Domains are the domains without the rows set aside, for NewManager.
	Domains() []Domain
}

// MicroReport is a micro-batch with its losses.
type MicroReport struct {
	batch.Micro
	TokenLoss []float32 // per token, 0 where there is no target; before any weight
	Domain    []int     // of every row; nil outside dynamic_mix
	Returned  float64   // this micro-batch's share of the step's loss, as it is logged
}

// Observer is a method that observes every optimizer step: all its micro-batches, in order,
// after the update.
type Observer interface {
	Observe(ctx context.Context, step int, micros []MicroReport) error
}

// Writer is a method that writes files to output_dir during the run.
type Writer interface {
	OutputDir(dir string) // called once before the first step
}

// Finisher is a method with something to do when training ends: write files, free memory, end
// programs.
type Finisher interface {
	Finish() error
}

// Reduction is how the loop turns row weights into the loss of a step.
type Reduction uint8

const (
	// TokenMean keeps the normalisation by tokens: L = Σ_r w_r Σ_t nll_rt / N with N the number
	// of labels of the whole step; the weights' mean over the step is 1.
	TokenMean Reduction = iota
	// RowSum is upstream's: L = Σ_r w_r ℓ_r with ℓ_r the row's mean over its tokens; the
	// weights include all normalisation.
	RowSum
	// MicroMean is that of upstream's DoReMi, which ignores the token count of the step: every
	// micro-batch's own mean over its tokens, divided by the number of micro-batches.
	MicroMean
	// MicroSum is transformers 4.52's with label smoothing: every micro-batch's own mean over
	// its tokens, summed, so that the loss grows with gradient_accumulation_steps.
	MicroSum
)

// Reducer is a Mixer that needs another reduction than TokenMean.
type Reducer interface {
	Reduction() Reduction
}

// WeightRequest asks a Weighter for the weights of the rows of one optimizer step.
type WeightRequest struct {
	Step   int // optimizer steps done so far
	Total  int // planned
	Micros []batch.Micro
	Loss   [][]float64 // per micro-batch, per row: mean over its tokens; NaN for a row without a target
}

// Weighter decides the weight of each row in the loss.
type Weighter interface {
	Weigh(ctx context.Context, r WeightRequest) (weights [][]float64, how Reduction, err error)
}

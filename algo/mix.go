package algo

import (
	"context"

	"dataflex.dev/dataflex/algo/batch"
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

	// LossWeights multiply the loss of each domain's rows; nil leaves the loss
	// alone. The loop normalises them to mean 1 over the rows of a step.
	LossWeights []float64
}

// Mixer decides the share of each domain in what is trained on.
type Mixer interface {
	Mix(ctx context.Context, r MixRequest) (Mixture, error)
}

// MicroReport is what a micro-batch was and how it fared.
type MicroReport struct {
	batch.Micro
	TokenLoss []float32 // per token, 0 where there is no target; before any weight
	Domain    []int     // of every row; nil outside dynamic_mix
	Returned  float64   // this micro-batch's share of the step's loss, as it is logged
}

// Observer is a method that wants to see every optimizer step: all its
// micro-batches, in order, after the update.
type Observer interface {
	Observe(ctx context.Context, step int, micros []MicroReport) error
}

// Finisher is a method that leaves files in output_dir when training ends, and
// lines there as it goes.
type Finisher interface {
	OutputDir(dir string) // called once before the first step
	Finish() error
}

// Reduction says how the loop turns row weights into the loss of a step.
type Reduction uint8

const (
	// TokenMean keeps token normalisation: L = Σ_r w_r Σ_t nll_rt / N with N the
	// labels of the whole step; the weights' mean over the step is 1.
	TokenMean Reduction = iota
	// RowSum is upstream's: L = Σ_r w_r ℓ_r with ℓ_r the row's mean over its
	// tokens; the weights carry every normalisation.
	RowSum
)

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

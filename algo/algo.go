// Package algo holds the contracts between the training loop and the methods
// that decide, while it trains, what to train on; and the registry of methods.
//
// Responsibilities: a Selector scores and picks rows from the pool it is given. The loop alone
// is responsible for the order inside a window, the reduction of the loss, gradient
// accumulation, evaluation and checkpoints.
package algo

import (
	"context"
	"encoding/json"
	"log/slog"

	"dataflex.dev/dataflex/algo/ranks"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// Mode selects one of a method's two variants.
type Mode string

const (
	// Faithful is what the method's paper says.
	Faithful Mode = "faithful"
	// Upstream reproduces OpenDCAI/DataFlex, quirks included, so that results
	// can be compared one to one.
	Upstream Mode = "upstream"
)

// Run is the state of a training run that methods may read. They do not change the model, the
// optimiser or the data.
type Run struct {
	Device    driver.Device
	Model     *decoder.Model
	Optimizer optim.Optimizer
	Train     []data.Example // the pool, in row order; indices are positions here
	Eval      []data.Example // empty where the configuration names none
	Seed      uint64         // the run's seed
	Updates   int            // selections planned for the whole run, 0 if open-ended
	Log       *slog.Logger
	Smooths   bool // label_smoothing_factor is set

	// Ranks are the processes that train together, nil for one. Each of them makes the same
	// requests of its method, and must get the same answers: passes divide their batches among
	// the ranks, and what does not follow from the run, such as a program's answer, is computed
	// by rank 0 (ranks.Decided).
	Ranks *ranks.Job

	// Outline means that the run is only being checked: Model has its configuration and no
	// tensors, Device is nil, Train and Eval stand for rows that have not been read.
	// Constructors report the faults they can find, and load nothing.
	Outline bool

	// UpdatesPerEpoch is the number of selections of a Flex epoch (update_times), 0 if
	// open-ended or if the run has a single Flex epoch.
	UpdatesPerEpoch int
	// Subtasks names the validation subtask of every row of Eval (a `subtask`
	// column); nil where the data has no such column.
	Subtasks []string
	// Questions are the rows of Eval as prompts, in the same order, from the data files. The
	// loop sets them after a QuestionNeeder is built and before its first selection; nil for
	// other methods. Tokenizer is the run's, Stop the tokens that end an answer: its EOS and
	// the template's stop words.
	Questions []Question
	Tokenizer *tokenizer.Tokenizer
	Stop      []int32

	// Losses, if not nil, replaces a method's own pass: the stages of a pipeline share one. It
	// returns the mean token loss of rows, by position in Train; NaN is a row without a loss.
	// At most `most` of the rows without a recent loss go through the model, 0 for all.
	Losses func(ctx context.Context, rows []int, step, most int) ([]float64, error)
}

// Question is a row before it is answered, from its raw fields.
type Question struct {
	Prompt      []int32 // everything before the last answer, under the run's template; not cut to cutoff_len
	Instruction string  // of an Alpaca row; else the last message before the answer
	Input       string  // of an Alpaca row
	Reference   string  // the data's own answer
}

// Request asks a Selector for rows.
type Request struct {
	Step   int // optimizer steps done so far: upstream's step_id
	Update int // selections requested in this Flex epoch, including this one: 1, 2, …
	N      int // rows wanted

	// Pool is the rows to choose from, as distinct positions in Run.Train, at least one; nil
	// for all of them.
	Pool []int

	// Key identifies by content everything that a choice at this step can depend on: data,
	// weights, moments, the component's parameters, the seed.
	Key string
	// Whole is the Key of all rows where Key is that of a share of them, which is scored by
	// itself; "" otherwise.
	Whole string
}

// Selection is the answer.
type Selection struct {
	Indices []int                // positions in Run.Train, in the order they were chosen
	Metric  map[string][]float64 // what is written to step_N.json; per selected row unless the method says otherwise
	Facts   map[string]any       // further entries of step_N.json's metric that are not lists per row: counts, settings
	Score   []float64            // the score of every row of Run.Train, nil where the method has none; NaN for rows not scored
	Scored  int                  // rows that went through the model for this selection
	Ordered bool                 // Indices are in the order of training, sorted by Score
}

// Selector decides which rows the next window trains on.
type Selector interface {
	Select(ctx context.Context, r Request) (Selection, error)
}

// Warmer is a Selector with its own seed for the warm-up draw.
type Warmer interface {
	WarmupSeed() uint64
}

// RowScorer is a Selector whose score of a row does not depend on the other rows of the pool,
// so that the pool can be scored in shards.
type RowScorer interface {
	ScoresRows()
}

// QuestionNeeder is a Selector that answers the evaluation rows' prompts: it needs
// Run.Questions.
type QuestionNeeder interface {
	NeedsQuestions() bool
}

// Cost is how often every row goes through the model for one selection, on average: forward
// only, or forward and backward for its gradient.
type Cost struct {
	Forward, Gradient         float64 // of the pool's rows
	EvalForward, EvalGradient float64 // of the evaluation rows
	Generated                 int     // tokens generated per evaluation row, at most
}

// Coster is a Selector that knows beforehand what a selection costs.
type Coster interface {
	Cost() Cost
}

// Stateful is a method with state of its own that a checkpoint must hold.
type Stateful interface {
	State() (json.RawMessage, error)
	Restore(json.RawMessage) error
}

// MemoryUser is a method that needs memory of its own on the device: another model for the
// whole run, or gradients during a selection.
type MemoryUser interface {
	MemoryBytes() uint64
}

// Recorder is a Selector whose choices are written to upstream's step_N.json files. The loop
// writes them, beside the key of what they depend on.
type Recorder interface {
	// CacheDir is the folder of the step files; "" writes none.
	CacheDir() string
	// Reuse reports whether a choice on disk with the same key may be used instead of making it
	// again.
	Reuse() bool
}

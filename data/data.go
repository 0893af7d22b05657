// Package data holds the vocabulary its subpackages share: messages, samples and
// examples, each of which knows which row of which dataset it came from.
package data

// IgnoreIndex is the label of a token that does not contribute to the loss.
const IgnoreIndex = -100

// Unlabelled is the labels of n tokens that do not contribute to the loss.
func Unlabelled(n int) []int32 {
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = IgnoreIndex
	}
	return labels
}

// Role is the speaker of a message, in LLaMA-Factory's terms.
type Role string

// The roles of a conversation.
const (
	User        Role = "user"
	Assistant   Role = "assistant"
	Observation Role = "observation"
	Function    Role = "function"
	System      Role = "system"
)

// Message is one turn of a conversation.
type Message struct {
	Role    Role
	Content string
}

// ID identifies the source of a row; filtering does not change it.
type ID struct {
	Dataset string `json:"dataset"`
	Row     int    `json:"row"` // 0-based row of the dataset in the order of its files
}

// RowWeight is the weight of a row in the loss relative to the other rows of its step, from its
// weight column; the zero value means 1, the weight of rows without such a column.
type RowWeight struct {
	Given bool // the column has a number
	Value float32
}

// Weight is the weight as a number, at least 0.
func (w RowWeight) Weight() float64 {
	if !w.Given {
		return 1
	}
	return float64(w.Value)
}

// Sample is one row after alignment, the output of the converter.
type Sample struct {
	ID
	Prompt   []Message
	Response []Message
	System   string
	Tools    string

	// Query is the text that a separate column (Alpaca's input) contributed to the end of the
	// last message of Prompt.
	Query string
	// Subtask names the part of an evaluation the row belongs to; "" for none.
	Subtask string

	RowWeight

	// Broken says why the row cannot be trained on, as "kind: detail"; empty for a usable row.
	// Such a row keeps its place, because mixing and splitting count it, and is dropped when it
	// would be tokenised.
	Broken string
	// Fault is an error in the row that stops the run, unless the row is never used:
	// num_samples, max_samples and interleaving may leave it out.
	Fault error
}

// Example is one tokenised row. A label is at the position of the token it names (unshifted, as
// in Hugging Face); it is IgnoreIndex where the token does not contribute to the loss.
//
// The last three fields are nil except in packed rows, whose ID is that of the first member.
// SFT packing leaves padding at the end of InputIDs: nothing from Segments[len(Segments)-1] on
// is attended to or trained on, so it need not be computed (it only counts in padded shapes).
type Example struct {
	ID
	InputIDs []int32
	Labels   []int32
	Subtask  string // see Sample; "" in packed rows
	RowWeight

	Members     []ID    // rows the packed row holds, in order
	PositionIDs []int32 // restart at 0 with each member; nil = 0, 1, 2, ...
	Segments    []int32 // bounds of the parts that only attend to themselves: 0, n1, n1+n2, ...; nil = one segment
}

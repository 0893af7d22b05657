// Package data holds the vocabulary its subpackages share: messages, samples and
// examples, each of which knows which row of which dataset it came from.
package data

// IgnoreIndex marks a label that is not trained on.
const IgnoreIndex = -100

// Unlabelled is the labels of n tokens none of which is trained on.
func Unlabelled(n int) []int32 {
	labels := make([]int32, n)
	for i := range labels {
		labels[i] = IgnoreIndex
	}
	return labels
}

// Role says who speaks, in LLaMA-Factory's terms.
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

// ID is where a row came from; it stays the same whatever filtering drops.
type ID struct {
	Dataset string `json:"dataset"`
	Row     int    `json:"row"` // 0-based row of the dataset as it stands in its files
}

// RowWeight is how much a row counts in the loss beside the others of its step, from its
// weight column; the zero value is 1, what a row without one has.
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

// Sample is one row after alignment: the converter's output.
type Sample struct {
	ID
	Prompt   []Message
	Response []Message
	System   string
	Tools    string

	// Query is what a column of its own (Alpaca's input) gave to the end of the last
	// message of Prompt.
	Query string
	// Subtask names the part of an evaluation the row belongs to; "" for none.
	Subtask string

	RowWeight

	// Broken says why nothing can be learned from the row, as "kind: detail";
	// empty for a usable one. Such a row keeps its place, because mixing and
	// splitting count it, and is dropped when it would be tokenised.
	Broken string
	// Fault is what is wrong with the row where that ends the run, unless the row is
	// never used: num_samples, max_samples and interleaving may pass it by.
	Fault error
}

// Example is one tokenised row. Labels stand at the position of the token they
// name (unshifted, as Hugging Face does); IgnoreIndex where not trained on.
//
// The last three fields are nil except in packed rows. There ID is the first
// member's, and SFT packing leaves padding at the end of InputIDs: from
// Segments[len(Segments)-1] on nothing is read or trained on, so it need not be
// computed (it counts in padded shapes only).
type Example struct {
	ID
	InputIDs []int32
	Labels   []int32
	Subtask  string // see Sample; "" in packed rows
	RowWeight

	Members     []ID    // rows the packed row holds, in order
	PositionIDs []int32 // restart at 0 with each member; nil = 0, 1, 2, ...
	Segments    []int32 // bounds of what may attend to itself: 0, n1, n1+n2, ...; nil = one segment
}

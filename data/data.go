// Package data holds the vocabulary its subpackages share: messages, samples and
// examples, each of which knows which row of which dataset it came from.
package data

// IgnoreIndex marks a label that is not trained on.
const IgnoreIndex = -100

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

// Sample is one row after alignment: the converter's output.
type Sample struct {
	ID
	Prompt   []Message
	Response []Message
	System   string
	Tools    string
}

// Example is one tokenised row. Labels stand at the position of the token they
// name (unshifted, as Hugging Face does); IgnoreIndex where not trained on.
type Example struct {
	ID
	InputIDs []int32
	Labels   []int32
}

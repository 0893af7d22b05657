package train

// spoilt is an error after which the weights of the last finished step are not worth
// keeping, or not to be trusted: what was saved before is.
type spoilt struct{ error }

func (e spoilt) Unwrap() error { return e.error }

// Rescued is an error that ended training, with what can be gone on from.
type Rescued struct {
	err  error
	note string
}

// Error is what went wrong and what is saved.
func (e *Rescued) Error() string { return e.err.Error() + "; " + e.note }

// Unwrap is what went wrong.
func (e *Rescued) Unwrap() error { return e.err }

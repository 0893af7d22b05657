// Package wrapperspb declares values that may be absent.
package wrapperspb

type wrapper[T any] struct{ value T }

// GetValue returns the value.
func (w *wrapper[T]) GetValue() T { return w.value }

// The wrapped types.
type (
	BoolValue   struct{ wrapper[bool] }
	Int32Value  struct{ wrapper[int32] }
	Int64Value  struct{ wrapper[int64] }
	UInt32Value struct{ wrapper[uint32] }
	UInt64Value struct{ wrapper[uint64] }
	FloatValue  struct{ wrapper[float32] }
	DoubleValue struct{ wrapper[float64] }
	StringValue struct{ wrapper[string] }
	BytesValue  struct{ wrapper[[]byte] }
)

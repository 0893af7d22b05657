// Package structpb declares JSON's values.
package structpb

import "google.golang.org/protobuf/reflect/protoreflect"

// Struct is an object.
type Struct struct {
	protoreflect.ProtoMessage

	Fields map[string]*Value
}

// GetFields returns its fields.
func (s *Struct) GetFields() map[string]*Value { return s.Fields }

// ListValue is an array.
type ListValue struct {
	protoreflect.ProtoMessage

	Values []*Value
}

// GetValues returns its values.
func (l *ListValue) GetValues() []*Value { return l.Values }

// Value is one of the kinds below.
type Value struct{ Kind kind }

// GetKind returns which.
func (v *Value) GetKind() kind {
	if v == nil {
		return nil
	}
	return v.Kind
}

type kind interface{ kind() }

// The kinds of values.
type (
	Value_NullValue   struct{}
	Value_NumberValue struct{ NumberValue float64 }
	Value_StringValue struct{ StringValue string }
	Value_BoolValue   struct{ BoolValue bool }
	Value_StructValue struct{ StructValue *Struct }
	Value_ListValue   struct{ ListValue *ListValue }
)

func (*Value_NullValue) kind()   {}
func (*Value_NumberValue) kind() {}
func (*Value_StringValue) kind() {}
func (*Value_BoolValue) kind()   {}
func (*Value_StructValue) kind() {}
func (*Value_ListValue) kind()   {}

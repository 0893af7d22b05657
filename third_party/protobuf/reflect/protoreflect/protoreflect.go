// Package protoreflect declares the interfaces of messages, which nothing implements.
package protoreflect

// Name is the name of a field.
type Name string

// Kind is the type of a field.
type Kind int8

// MessageKind is that of a message.
const MessageKind Kind = 11

// ProtoMessage is a message.
type ProtoMessage interface{ ProtoReflect() Message }

// Message is the content of a message.
type Message interface {
	Descriptor() MessageDescriptor
	Has(FieldDescriptor) bool
	Get(FieldDescriptor) Value
	Interface() ProtoMessage
}

// MessageDescriptor describes a message.
type MessageDescriptor interface{ Fields() FieldDescriptors }

// FieldDescriptors describe its fields.
type FieldDescriptors interface{ ByName(Name) FieldDescriptor }

// FieldDescriptor describes one.
type FieldDescriptor interface{ Kind() Kind }

// Value is the value of a field; there is none.
type Value struct{}

// IsValid reports that.
func (Value) IsValid() bool { return false }

// Interface returns nothing.
func (Value) Interface() any { return nil }

// Message panics: there are no messages.
func (Value) Message() Message { panic("protobuf: no message can be made here") }

// MapKey is a key of a map.
type MapKey Value

// Interface returns nothing.
func (MapKey) Interface() any { return nil }

// List is a repeated field.
type List interface {
	Len() int
	Get(int) Value
	ProtoReflect() Message
}

// Map is a field of keys and values.
type Map interface {
	Len() int
	Range(func(MapKey, Value) bool)
	ProtoReflect() Message
}

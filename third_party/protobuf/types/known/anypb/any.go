// Package anypb declares a message of any type.
package anypb

import "google.golang.org/protobuf/reflect/protoreflect"

// Any is a message of any type.
type Any struct{ protoreflect.ProtoMessage }

// GetTypeUrl returns nothing.
func (*Any) GetTypeUrl() string { return "" }

// UnmarshalNew panics: there are no messages.
func (*Any) UnmarshalNew() (protoreflect.ProtoMessage, error) {
	panic("protobuf: no message can be made here")
}

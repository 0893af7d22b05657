// Package proto declares what parquet-go calls with a message.
package proto

import "google.golang.org/protobuf/reflect/protoreflect"

// Message is a message.
type Message = protoreflect.ProtoMessage

// Size panics: there are no messages.
func Size(Message) int { panic("protobuf: no message can be made here") }

// Marshal panics: there are no messages.
func Marshal(Message) ([]byte, error) { panic("protobuf: no message can be made here") }

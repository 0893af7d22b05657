package config

import (
	"fmt"
	"reflect"
)

// Setting is an honoured key with its final value as text: from the file, an override, the
// default, or derived from other keys.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Settings lists every honoured key with a single value, in the order of the table. Equal
// texts are equal settings, however they were written.
func (c *Config) Settings() []Setting {
	var out []Setting
	for _, k := range table {
		if k.bind == nil || k.Type == Mixed {
			continue
		}
		v := reflect.ValueOf(k.bind(c)).Elem()
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		text := "null"
		if v.Kind() != reflect.Pointer {
			text = fmt.Sprint(v.Interface())
		}
		out = append(out, Setting{k.Name, masked(k.Name, text)})
	}
	return out
}

// About is the group of a key: Model, Data, Finetuning, Training, Generating, DataFlex or
// Export; "" if there is no such key.
func About(key string) string {
	k, _ := lookup(key)
	return k.Group
}

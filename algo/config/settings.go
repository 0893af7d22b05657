package config

import (
	"fmt"
	"reflect"
)

// Setting is a honoured key and the value it has in the end, as text: the file's, an
// override's, the default, or what follows from others.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Settings lists every honoured key of one value, in the order of the table. Equal
// texts mean equal settings, whatever they were written as.
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

// About is the group of keys that a key belongs to: Model, Data, Finetuning, Training,
// Generating, DataFlex or Export; "" for no key.
func About(key string) string {
	k, _ := lookup(key)
	return k.Group
}

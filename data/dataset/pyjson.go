package dataset

import (
	"github.com/go-json-experiment/json/jsontext"

	"dataflex.dev/dataflex/data/pyjson"
)

// pythonJSON re-serialises a JSON value as Python's json.dumps(json.loads(v),
// ensure_ascii=False) does.
func pythonJSON(v jsontext.Value) string { return pyjson.Encode(pythonValue(v), 0) }

// pythonValue is json.loads of a value that was parsed before, so that walking it cannot fail.
// A duplicate name has its first position and its last value, as in a dict.
func pythonValue(v jsontext.Value) any {
	switch v.Kind() {
	case '{':
		o, at := pyjson.Object{}, map[string]int{}
		_ = eachMember(v, func(name []byte, v jsontext.Value) error {
			i, twice := at[string(name)]
			if !twice {
				i, at[string(name)] = len(o), len(o)
				o = append(o, pyjson.Field{Key: string(name)})
			}
			o[i].Value = pythonValue(v)
			return nil
		})
		return o
	case '[':
		list := []any{}
		_ = eachElement(v, func(v jsontext.Value) error {
			list = append(list, pythonValue(v))
			return nil
		})
		return list
	case '"':
		return unquote(v)
	}
	plain, err := pyjson.Decode(v)
	if err != nil {
		panic("dataset: JSON that was parsed before does not parse: " + err.Error())
	}
	return plain
}

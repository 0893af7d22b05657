package template

import "dataflex.dev/dataflex/data/pyjson"

// Texts about tools are JSON as Python's json.dumps(ensure_ascii=False) writes it, with keys in
// the order of the data, which is what the models were tuned on.

// member is a member of a value that should be an object, and whether it exists.
func member(v any, key string) (any, bool) {
	o, _ := v.(pyjson.Object)
	return o.Lookup(key)
}

// list is the elements of a value that should be an array.
func list(v any) []any {
	items, _ := v.([]any)
	return items
}

// dump is json.dumps(v, ensure_ascii=False).
func dump(v any) string { return pyjson.Encode(v, 0) }

// dumpIndented is json.dumps(v, indent=4, ensure_ascii=False).
func dumpIndented(v any) string { return pyjson.Encode(v, 4) }

// size is len(v) of an array or object, else 0.
func size(v any) int {
	if o, ok := v.(pyjson.Object); ok {
		return len(o)
	}
	return len(list(v))
}

package train

import (
	"fmt"

	"dataflex.dev/dataflex/algo/report"
	"dataflex.dev/dataflex/data/pyjson"
)

// evaluation is the result for one evaluation set.
type evaluation struct {
	set                  string  // its name; empty if there is only one set
	loss                 float64 // Hugging Face's eval_loss
	accuracy, perplexity *float64
	rows, batches        int
	seconds              float64
}

// evaluations are the results for all sets, in their order.
type evaluations []evaluation

// fields are the metrics under Hugging Face's names: eval_loss, or eval_<set>_loss if there
// are several sets.
func (e evaluation) fields() pyjson.Object {
	prefix := e.prefix()
	var out pyjson.Object
	if e.accuracy != nil {
		out = append(out, pyjson.Field{Key: prefix + "accuracy", Value: *e.accuracy})
	}
	if e.perplexity != nil {
		out = append(out, pyjson.Field{Key: prefix + "perplexity", Value: *e.perplexity})
	}
	seconds := max(e.seconds, 1e-9)
	return append(out,
		pyjson.Field{Key: prefix + "loss", Value: e.loss},
		pyjson.Field{Key: prefix + "runtime", Value: report.Round(seconds, 4)},
		pyjson.Field{Key: prefix + "samples_per_second", Value: report.Round(float64(e.rows)/seconds, 3)},
		pyjson.Field{Key: prefix + "steps_per_second", Value: report.Round(float64(e.batches)/seconds, 3)})
}

// prefix begins the names of the set's metrics.
func (e evaluation) prefix() string {
	if e.set == "" {
		return "eval_"
	}
	return "eval_" + e.set + "_"
}

// fields are those of all sets.
func (e evaluations) fields() (out pyjson.Object) {
	for _, set := range e {
		out = append(out, set.fields()...)
	}
	return out
}

// losses are the sets' losses under their names, as a log takes them.
func (e evaluations) losses() (out []any) {
	for _, set := range e {
		out = append(out, set.prefix()+"loss", set.loss)
	}
	return out
}

// metric is the value named by metric_for_best_model.
func (e evaluations) metric(name string) (float64, error) {
	all := e.fields()
	if v, ok := all.Get(name).(float64); ok {
		return v, nil
	}
	s := ""
	for _, f := range all {
		s += " " + f.Key
	}
	return 0, fmt.Errorf("the evaluation has no %s; it has%s", name, s)
}

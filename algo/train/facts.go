package train

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dataflex.dev/dataflex/algo/report/record"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/display"
)

// openRecord starts what the report page is made of.
func (t *session) openRecord(fresh bool) (err error) {
	if t.journal.page, err = record.Open(t.Config.Training.OutputDir, fresh, t.step, t.windowHeld(), len(t.train), t.journal.trackers.Scalar); err != nil {
		return err
	}
	return t.journal.page.Start(t.facts())
}

// facts is what the report says of a run before its first step.
func (t *session) facts() record.Run {
	c, b := t.Config, t.Budget
	r := record.Run{
		From: t.step, TrainType: string(c.Dynamic.TrainType), Model: c.Model.NameOrPath,
		Device:    fmt.Sprintf("%s, %d threads", t.device.Kind(), t.device.Attributes().Units),
		Precision: t.precision(), Config: c.Shown(), Steps: t.Plan.Total, Batch: t.Plan.Batch(), Trainable: t.trainable(),
		SetUp: time.Since(t.began).Seconds(), Have: t.device.Attributes().MemoryBytes,
		Memory: []record.Part{
			{Name: "weights", Bytes: b.Weights},
			{Name: "adapters", Bytes: b.Adapters},
			{Name: "gradients", Bytes: b.Gradients},
			{Name: "optimizer", Bytes: b.Optimizer},
			{Name: "activations", Bytes: b.Activations},
			{Name: "logits", Bytes: b.Head},
			{Name: "method", Bytes: t.methodMemory()},
		},
		Pool: record.PoolOf(t.train), DatasetDir: t.data.options.DatasetDir,
	}
	if info := t.data.options.Info; info != nil {
		r.DatasetInfo = withoutSecrets(info)
	}
	if t.component != nil {
		r.Component, r.Mode, r.Params = t.component.Name, t.component.Mode, display.Mask(t.component.Raw)
	}
	// Rows kept under tokenized_path may have no files any more; the page then says so.
	if catalog, err := dataset.OpenCatalog(r.DatasetDir, t.data.options.Info); err == nil {
		for _, name := range c.Data.Dataset {
			if s, err := catalog.Source(name); err == nil {
				r.Stamp(s.Files())
			}
		}
	}
	return r
}

// withoutSecrets masks what a description of data sets has of them: it is kept in a file.
// The names of local files stay, for the page reads rows from there.
func withoutSecrets(info []byte) json.RawMessage {
	var sets map[string]any
	if json.Unmarshal(info, &sets) != nil {
		return nil // a data set named there has been read already
	}
	var mask func(key string, v any) any
	mask = func(key string, v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				v[k] = mask(k, v[k])
			}
		case []any:
			for i := range v {
				v[i] = mask(key, v[i])
			}
		case string:
			if key == "file_name" && !strings.Contains(v, "://") {
				return v
			}
			before := key + ": "
			return strings.TrimPrefix(display.Mask(before+v), before)
		}
		return v
	}
	raw, err := json.Marshal(mask("", sets))
	if err != nil {
		return nil // what was read as JSON can be written
	}
	return raw
}

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

// facts is what the report says of a run before it goes on from a step; began is when its
// set-up did.
func facts(f *forecast, d *Data, step int, began time.Time) record.Run {
	c, b := f.config, f.budget
	r := record.Run{
		From: step, TrainType: string(c.Dynamic.TrainType), Model: c.Model.NameOrPath,
		Device:    fmt.Sprintf("%s, %d threads", f.device.Kind(), f.device.Attributes().Units),
		Precision: f.precision(), Config: c.Shown(), Steps: f.plan.Total, Batch: f.plan.Batch(), Trainable: f.trainable(),
		SetUp: time.Since(began).Seconds(), Have: f.device.Attributes().MemoryBytes,
		Memory: []record.Part{
			{Name: "weights", Bytes: b.Weights},
			{Name: "adapters", Bytes: b.Adapters},
			{Name: "gradients", Bytes: b.Gradients},
			{Name: "optimizer", Bytes: b.Optimizer},
			{Name: "activations", Bytes: b.Activations},
			{Name: "logits", Bytes: b.Head},
			{Name: "method", Bytes: f.method},
			{Name: "sums over ranks", Bytes: f.lanes},
		},
		Pool: record.PoolOf(d.Train), DatasetDir: d.options.DatasetDir,
	}
	if info := d.options.Info; info != nil {
		r.DatasetInfo = withoutSecrets(info)
	}
	if f.component != nil {
		r.Component, r.Mode, r.Params = f.component.Name, f.component.Mode, display.Mask(f.component.Raw)
	}
	// Rows kept under tokenized_path may have no files any more; the page then says so.
	if catalog, err := dataset.OpenCatalog(r.DatasetDir, d.options.Info); err == nil {
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

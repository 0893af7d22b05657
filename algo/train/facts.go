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

// facts is the report's description of a run before it starts or resumes at a step; began is
// the time of its set-up.
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
	// Rows kept under tokenized_path may no longer have files; the page then says so.
	if catalog, err := dataset.OpenCatalog(r.DatasetDir, d.options.Info); err == nil {
		for _, name := range c.Data.Dataset {
			if s, err := catalog.Source(name); err == nil {
				r.Stamp(s.Files())
			}
		}
	}
	return r
}

// withoutSecrets masks the secrets in a description of data sets, which is written to a
// file. The names of local files stay, because the page reads rows from them.
func withoutSecrets(info []byte) json.RawMessage {
	var sets map[string]any
	if json.Unmarshal(info, &sets) != nil {
		return nil // cannot happen: a data set named there has already been read
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
		return nil // cannot happen: it was read as JSON
	}
	return raw
}

package data

import "embed"

// Samples are the small data sets of the examples, with their dataset_info.json.
//
//go:embed *.jsonl dataset_info.json
var Samples embed.FS

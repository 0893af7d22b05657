package dataset

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"dataflex.dev/dataflex/data/hub"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/yamlfile"
)

// InfoFile is the file in a dataset_dir that describes each dataset.
const InfoFile = "dataset_info.json"

// attributes is one entry of dataset_info.json with upstream's defaults filled in
// (LLaMA-Factory data/parser.py). An empty column or tag name means that it is not used.
type attributes struct {
	name       string
	info       string  // path of its dataset_info.json
	file       string  // file or folder, relative to the dataset_dir
	format     string  // alpaca, sharegpt or openai
	numSamples int     // 0 = every row
	hub        string  // the folder of a hub's data set, instead of file
	subset     string  // of a hub's data set
	folder     string  // inside it
	splitName  string  // of it
	split      []slice // nil = every row

	// columns
	columnsGiven                     bool   // the entry names columns; otherwise they are upstream's defaults
	prompt, query, response, history string // alpaca
	messages                         string // sharegpt and openai
	system, tools                    string
	media                            []string // images, videos, audios: must be empty

	// A `subtask` column names the part of an evaluation that a row belongs to. Unlike the
	// others it is read even if the entry does not name it, where a row has one.
	subtask      string
	subtaskGiven bool

	// A weight column, which the entry must name, holds the weight of each row in the loss.
	weight string

	// tags
	role, content, user, assistant, observation, function, systemTag string
}

// The keys that an entry may have. Others are ignored with a warning; upstream ignores them
// silently.
var (
	entryKeys = []string{
		"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name", "file_sha1",
		"formatting", "ranking", "subset", "split", "revision", "folder", "num_samples", "columns", "tags",
	}
	columnKeys = []string{
		"prompt", "query", "response", "history", "messages", "system", "tools", "subtask", "weight",
		"images", "videos", "audios", "chosen", "rejected", "kto_tag",
	}
	tagKeys = []string{"role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag", "system_tag"}
)

// info is a parsed dataset_info.json.
type info struct {
	path    string
	entries map[string]json.RawMessage
}

// readInfo reads dir's dataset_info.json, or the text given instead.
func readInfo(dir string, text []byte) (*info, error) {
	if dir == "ONLINE" || strings.HasPrefix(dir, "REMOTE:") {
		return nil, fmt.Errorf("dataset_dir %s names a hub, and this program never uses the network: "+
			"download the data, describe it in a %s of your own and set dataset_dir to its folder", dir, InfoFile)
	}
	path := filepath.Join(dir, InfoFile)
	if text != nil {
		path = "dataset_dir"
	} else {
		var err error
		if text, err = storage.ReadInput(path, maxInfo); err != nil {
			//lint:ignore ST1005 upstream's words, which people search for
			return nil, fmt.Errorf("Cannot open %s due to %w; set dataset_dir to the folder that holds %s", path, reason(err), InfoFile)
		}
	}
	if err := storage.NotUTF8(path, text); err != nil {
		return nil, err
	}
	text = bytes.TrimPrefix(text, byteOrderMark)
	in := &info{path: path}
	if err := json.Unmarshal(text, &in.entries); err != nil {
		//lint:ignore ST1005 upstream's words, which people search for
		return nil, fmt.Errorf("Cannot open %s due to %w%s", path, err, jsonPosition(text, err))
	}
	return in, nil
}

// jsonPosition formats encoding/json's byte offset as " (line L, column C)".
func jsonPosition(text []byte, err error) string {
	var at int64
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &kind):
		at = kind.Offset
	default:
		return ""
	}
	head := text[:min(int(at), len(text))]
	return fmt.Sprintf(" (line %d, column %d)", bytes.Count(head, []byte("\n"))+1, len(head)-bytes.LastIndexByte(head, '\n')-1)
}

// attributes returns the entry called name, or an error that says why it cannot be used.
// Warnings are about keys that have no effect.
func (in *info) attributes(name string) (*attributes, []string, error) {
	text, ok := in.entries[name]
	if !ok {
		near := nearest(name, slices.Sorted(maps.Keys(in.entries)))
		//lint:ignore ST1005 upstream's words, which people search for
		return nil, nil, fmt.Errorf("Undefined dataset %s in %s%s", name, in.path, near)
	}
	e := entryReader{where: fmt.Sprintf("dataset %s in %s", name, in.path)}
	if err := json.Unmarshal(text, &e.entry); err != nil || e.entry == nil {
		return nil, nil, fmt.Errorf("%s is %s; an object with file_name and what its columns are called is expected", e.where, kindName(jsontext.Value(text).Kind()))
	}
	a := &attributes{name: name, info: in.path, format: e.text("formatting", "alpaca"), numSamples: e.count("num_samples")}
	e.source(a)
	var err error
	if a.split, a.splitName, err = parseSplit(e.text("split", "train"), a.hub != ""); err != nil && e.err == nil {
		e.err = fmt.Errorf("%s: %w", e.where, err)
	}
	ranking := e.flag("ranking")
	columns := e.section("columns", columnKeys)
	tags := e.section("tags", tagKeys)
	e.known(entryKeys)
	if e.err != nil {
		return nil, nil, e.err
	}
	a.setColumns(columns)
	a.setTags(tags)
	if err := a.check(e.where, ranking, columns, tags != nil); err != nil {
		return nil, nil, err
	}
	return a, e.warnings, nil
}

// setColumns sets the column names: upstream's defaults when the entry has no columns,
// otherwise only those listed there; the rest are unused.
func (a *attributes) setColumns(columns map[string]string) {
	a.columnsGiven = columns != nil
	if columns == nil {
		columns = map[string]string{"prompt": "instruction", "query": "input", "response": "output", "messages": "conversations"}
	}
	a.prompt, a.query, a.response, a.history = columns["prompt"], columns["query"], columns["response"], columns["history"]
	a.messages, a.system, a.tools = columns["messages"], columns["system"], columns["tools"]
	for _, m := range []string{"images", "videos", "audios"} {
		if columns[m] != "" {
			a.media = append(a.media, columns[m])
		}
	}
	a.weight = columns["weight"]
	a.subtask = columns["subtask"]
	if a.subtaskGiven = a.subtask != ""; !a.subtaskGiven {
		a.subtask = "subtask"
	}
}

// setTags does the same for the tags of a message.
func (a *attributes) setTags(tags map[string]string) {
	if tags == nil {
		tags = map[string]string{
			"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
			"observation_tag": "observation", "function_tag": "function_call", "system_tag": "system",
		}
	}
	a.role, a.content = tags["role_tag"], tags["content_tag"]
	a.user, a.assistant = tags["user_tag"], tags["assistant_tag"]
	a.observation, a.function, a.systemTag = tags["observation_tag"], tags["function_tag"], tags["system_tag"]
}

// check refuses entries that supervised fine-tuning and pre-training on text cannot use.
func (a *attributes) check(where string, ranking bool, columns map[string]string, tagged bool) error {
	switch a.format {
	case "alpaca":
	case "sharegpt", "openai":
		if a.messages == "" {
			return fmt.Errorf("%s: formatting %s needs columns.messages; with \"columns\" present, what is not listed there is not used", where, a.format)
		}
		if tagged && (a.role == "" || a.content == "") {
			return fmt.Errorf("%s: tags must name role_tag and content_tag; with \"tags\" present, what is not listed there is not used", where)
		}
	default:
		return fmt.Errorf("%s: dataset converter %s not found; formatting is one of alpaca, sharegpt, openai%s",
			where, a.format, nearest(a.format, []string{"alpaca", "sharegpt", "openai"}))
	}
	if ranking {
		return fmt.Errorf("%s: the dataset is not applicable in the current training stage: it holds preference pairs (ranking: true), "+
			"and the stages sft and pt need single answers; for sft, set ranking to false and map columns.response (alpaca) or a conversation that ends with an answer", where)
	}
	if columns["kto_tag"] != "" {
		return fmt.Errorf("%s: columns.kto_tag marks the data of stage kto, which is not supported; remove kto_tag to train on its conversations as they are", where)
	}
	return nil
}

// entryReader reads the values of one entry and keeps the first error.
type entryReader struct {
	where    string
	entry    map[string]json.RawMessage
	warnings []string
	err      error
}

func (e *entryReader) get(key string, into any, want string) bool {
	raw, ok := e.entry[key]
	if !ok || bytes.Equal(bytes.TrimSpace(raw), []byte("null")) {
		return false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		if e.err == nil {
			e.err = fmt.Errorf("%s: %s is %s; it must be %s", e.where, key, raw, want)
		}
		return false
	}
	return true
}

func (e *entryReader) text(key, fallback string) string {
	v := fallback
	e.get(key, &v, "a string")
	return v
}

func (e *entryReader) flag(key string) (v bool) {
	e.get(key, &v, "true or false")
	return v
}

// maxInfo bounds dataset_info.json.
const maxInfo = 64 << 20

// maxDrawn is the largest num_samples: every drawn row is held in memory by its number.
const maxDrawn = 1 << 28

func (e *entryReader) count(key string) int {
	n := 0
	if e.get(key, &n, "a whole number") && n < 1 && e.err == nil {
		e.err = fmt.Errorf("%s: %s is %d; it must be at least 1 (remove it to use every row)", e.where, key, n)
	}
	if n > maxDrawn && e.err == nil {
		e.err = fmt.Errorf("%s: %s is %d; at most %d rows are drawn (raise num_train_epochs to see rows more often)", e.where, key, n, maxDrawn)
	}
	return n
}

// section reads columns or tags; nil when the entry has none. A null value counts as a missing
// one.
func (e *entryReader) section(key string, known []string) map[string]string {
	var raw map[string]*string
	if !e.get(key, &raw, "an object whose values are column names or tags") {
		return nil
	}
	out := make(map[string]string, len(raw))
	for k, v := range raw {
		if v != nil {
			out[k] = *v
		}
	}
	e.unknown(key+".", slices.Sorted(maps.Keys(raw)), known)
	return out
}

func (e *entryReader) known(known []string) {
	e.unknown("", slices.Sorted(maps.Keys(e.entry)), known)
}

func (e *entryReader) unknown(prefix string, keys, known []string) {
	for _, k := range keys {
		if !slices.Contains(known, k) {
			e.warnings = append(e.warnings, fmt.Sprintf("%s: %s%s is not a known key and is ignored%s", e.where, prefix, k, nearest(k, known)))
		}
	}
}

// source sets where the rows come from: a hub's cache, which upstream tries first, or
// file_name. Scripts and cloud storage would need remote code or the network.
func (e *entryReader) source(a *attributes) {
	const way = "put the data into a file (.jsonl, .json, .csv, .parquet, .txt, also .gz or .zst) and give the entry \"file_name\" instead"
	hf, ms := e.text("hf_hub_url", ""), e.text("ms_hub_url", "")
	scope, err := strconv.ParseBool(os.Getenv("USE_MODELSCOPE_HUB"))
	scope = scope && err == nil
	if from := cmp.Or(hf, ms); from != "" && e.err == nil {
		if scope = ms != "" && (scope || hf == ""); scope {
			from = ms
		}
		a.folder, a.subset = e.text("folder", ""), e.text("subset", "")
		a.hub, err = hub.Dataset(from, e.text("revision", ""), scope)
		if err != nil {
			e.err = fmt.Errorf("%s: %w", e.where, err)
		}
		return
	}
	for _, other := range []struct{ key, what string }{
		{"om_hub_url", "the OpenMind hub"},
		{"script_url", "a loading script, which is Python code"},
		{"cloud_file_name", "cloud storage"},
	} {
		if from := e.text(other.key, ""); from != "" && e.err == nil {
			e.err = fmt.Errorf("%s comes from %s (%s: %s), and training uses neither network nor remote code: %s", e.where, other.what, other.key, from, way)
		}
	}
	a.file = e.text("file_name", "")
	if a.file == "" && e.err == nil {
		e.err = fmt.Errorf("%s has no file_name: %s", e.where, way)
	}
}

// nearest ends a message about an unknown key: the known key that was likely meant, else the
// existing keys (a few of them).
func nearest(key string, known []string) string {
	if near, ok := yamlfile.Nearest(key, known); ok {
		return "; did you mean " + near + "?"
	}
	known = slices.Sorted(slices.Values(known))
	switch {
	case len(known) == 0:
		return "; there are none"
	case len(known) > 12:
		return fmt.Sprintf("; there are %s and %d more", strings.Join(known[:12], ", "), len(known)-12)
	}
	return "; there are " + strings.Join(known, ", ")
}

// reason is the cause without the path, which the caller's message already has.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

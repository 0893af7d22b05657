// Package config turns a YAML file of LLaMA-Factory or DataFlex into typed arguments. One
// table lists every key of upstream: honoured, accepted without effect (which is reported
// once), or refused with a reason. Any other key is an error that names file, line and
// column, shows the line and suggests the most similar key.
package config

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"

	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/yamlfile"
)

// Values of stage, finetuning_type, the *_strategy keys and train_type.
const (
	StagePT  = "pt"
	StageSFT = "sft"

	LoRA   = "lora"
	Freeze = "freeze"
	Full   = "full"

	No    = "no"
	Steps = "steps"
	Tree  = "tree" // reduction: in an order that depends only on the number of ranks
	Fast  = "fast" // reduction: in the order of the library that connects the processes
	Epoch = "epoch"
	Best  = "best"

	Static         = "static"
	DynamicSelect  = "dynamic_select"
	DynamicMix     = "dynamic_mix"
	DynamicWeight  = "dynamic_weight"
	DynamicReorder = "dynamic_reorder"
	DynamicLego    = "dynamic_lego"
)

// Config holds the honoured keys under their upstream names, with defaults.
type Config struct {
	File     string // the configuration file
	Model    Model
	Data     Data
	Tuning   Tuning
	Training Training
	Dynamic  Dynamic
	Export   Export

	Generating Generating

	root    *yamlfile.Value // file and overrides, merged
	missing faults          // models that were not found
	notices []string
	unmet   []string
}

// Model configures which model is trained and how it is loaded.
type Model struct {
	NameOrPath                   string // a folder; for the name of a hub, its folder in the hub's cache
	Name                         string // as given
	Revision                     string
	CacheDir                     string
	AdapterNameOrPath            []string
	AdapterFolder                string
	ResizeVocab                  bool // also true if tokens are added
	AddTokens                    []string
	AddSpecialTokens             []string
	NewSpecialTokensConfig       string
	InitSpecialTokens            string
	RopeScaling                  string // "" = as in the model's config.json
	MoEAuxLossCoef               *float64
	DisableGradientCheckpointing bool
	TrainFromScratch             bool
	PrintParamStatus             bool
	InferDType                   string
	QuantizationBit              int // 4 or 8; 0 = as in the folder
	QuantizationMethod           string
	QuantizationType             string // with 4 bits: nf4 or fp4
	DoubleQuantization           bool   // with 4 bits
}

// Data configures the data for training and evaluation.
type Data struct {
	Template               string // "" = from the tokenizer
	Dataset                []string
	EvalDataset            []string
	DatasetDir             string
	DatasetInfo            *yamlfile.Value // dataset_dir given as a map: the dataset_info itself; DatasetDir is then ""
	CutoffLen              int             // as given; the processor takes 1 off under explicit packing
	TrainOnPrompt          bool
	MaskHistory            bool
	Streaming              bool
	BufferSize             int
	MixStrategy            string
	InterleaveProbs        []float64
	OverwriteCache         bool
	PreprocessingBatchSize int
	PreprocessingWorkers   int // preprocessing_num_workers: determines the blocks of packed data; 0 = not given
	MaxSamples             int // 0 = all
	IgnorePadTokenForLoss  bool
	ValSize                float64 // a share if below 1, otherwise a count
	EvalOnEachDataset      bool
	Packing                *bool // nil = only in pre-training
	NeatPacking            bool
	ToolFormat             string
	DefaultSystem          *string // nil = the template's
	EnableThinking         *bool
	PreserveThinking       *bool // nil = as the version of LLaMA-Factory that the template is from
	TokenizedPath          string

	MixtureSampleRule      string
	InitMixtureProportions []float64
	MixerEvalDataset       []string
}

// Tuning configures which parameters of the model are trained, and how.
type Tuning struct {
	Stage                  string
	FinetuningType         string
	LoRARank               int
	LoRAAlpha              float64 // 2 x rank if not given
	LoRADropout            float64
	LoRATarget             []string
	AdditionalTarget       []string
	UseRSLoRA              bool
	LoRAPlusLRRatio        *float64
	LoRAPlusLREmbedding    float64
	UseMuon                bool
	UseDoRA                bool
	PiSSAInit              bool
	PiSSAIter              int
	PiSSAConvert           bool
	CreateNewAdapter       bool
	FreezeTrainableLayers  int
	FreezeTrainableModules []string
	FreezeExtraModules     []string
	PureBF16               bool
	ComputeAccuracy        bool
	DisableShuffling       bool
	EarlyStoppingSteps     *int
	EarlyStoppingMinDelta  float64
	PlotLoss               bool

	IncludeEffectiveTokensPerSecond bool
}

// Training is Hugging Face's TrainingArguments.
type Training struct {
	OutputDir                 string
	OverwriteOutputDir        bool
	DoTrain                   bool
	DoEval                    bool // also true when EvalStrategy is not "no"
	DoPredict                 bool
	PredictWithGenerate       bool // together with DoPredict
	EvalStrategy              string
	EvalSteps                 int // optimizer steps; see ResolveSteps
	EvalDelay                 float64
	EvalOnStart               bool
	PerDeviceTrainBatchSize   int
	Ranks                     int    // logical ranks: the number of processes of a distributed run
	Reduction                 string // how the ranks' gradients are added
	Sharding                  Sharding
	DDPTimeout                int  // seconds that a rank waits for the others in a call
	AverageTokens             bool // average_tokens_across_devices: the loss of a step is the mean over all ranks' labels
	PerDeviceEvalBatchSize    int
	GradientAccumulationSteps int
	GradientCheckpointing     bool
	LearningRate              float64
	WeightDecay               float64
	AdamBeta1                 float64
	AdamBeta2                 float64
	AdamEpsilon               float64
	MaxGradNorm               float64 // 0 or less = no clipping
	NumTrainEpochs            float64
	MaxSteps                  int // 0 or less = computed from the epochs
	LRSchedulerType           string
	LRSchedulerKwargs         map[string]any
	WarmupRatio               float64
	WarmupSteps               int
	Optim                     string
	BF16                      bool
	FP16                      bool
	LoggingStrategy           string
	LoggingSteps              int // optimizer steps; see ResolveSteps
	LoggingFirstStep          bool
	LoggingNaNInfFilter       bool
	SaveStrategy              string
	SaveSteps                 int  // optimizer steps; see ResolveSteps
	SaveTotalLimit            int  // 0 = keep all
	ReplayEvery               int  // 0 = never
	MergeTokens               *int // of micro-batches that share a pass; nil = as the device likes it
	SaveOnlyModel             bool
	LoadBestModelAtEnd        bool
	MetricForBestModel        string // with its eval_ prefix; "" = none
	GreaterIsBetter           bool
	Seed                      int64
	DataSeed                  *int64 // nil = Seed
	DataloaderDropLast        bool
	GroupByLength             bool
	LabelSmoothingFactor      float64
	NEFTuneNoiseAlpha         *float64
	ResumeFromCheckpoint      Resume
	IgnoreDataSkip            bool
	ReportTo                  []string // the requested trackers that are available
	RunName                   string
	LoggingDir                string
	UseCPU                    bool

	IncludeNumInputTokensSeen TokensSeen

	greater    *bool           // greater_is_better as given
	deepspeed  *yamlfile.Value // as given; Sharding is derived from it
	fsdp       *yamlfile.Value
	fsdpConfig *yamlfile.Value
	intervals  [3]float64 // logging_steps, eval_steps, save_steps as given: below 1 a share of the run
}

// Resume is resume_from_checkpoint.
type Resume struct {
	Given  bool   // the key has a value
	Latest bool   // true: the newest complete checkpoint of output_dir
	Path   string // a checkpoint folder
}

// TokensSeen is include_num_input_tokens_seen: whether tokens are counted, and whether
// padding is counted.
type TokensSeen string

// The values; true means all and false means no.
const (
	CountNone       TokensSeen = "no"
	CountAll        TokensSeen = "all"
	CountNonPadding TokensSeen = "non_padding"
)

// Of returns the count to report, given the tokens with and without padding; asked is false
// if none is to be reported.
func (s TokensSeen) Of(padded, tokens int) (n int, asked bool) {
	switch s {
	case CountAll:
		return padded, true
	case CountNonPadding:
		return tokens, true
	}
	return 0, false
}

// Dynamic configures what DataFlex adds: which component decides on the data, and when.
type Dynamic struct {
	TrainType         string
	ComponentsCfgFile string
	ComponentName     string
	WarmupStep        int
	UpdateStep        int
	UpdateTimes       int // 0 or less = no fixed number
	TrainStep         int // 0 = from the epochs
	StaticMix         bool
	FreezeGate        bool
}

// Export has the keys of `export` beside those of Model and Tuning.
type Export struct {
	Dir  string // a folder, or a file that ends in .gguf
	Size int    // GB (1e9 bytes) per shard
	GGUF string // number format of a GGUF file's matrices; "auto": that of infer_dtype
}

// Generating configures how answers are generated.
type Generating struct {
	DoSample          bool
	Temperature       float64
	TopP              float64
	TopK              int
	MaxNewTokens      int
	RepetitionPenalty float64
	SkipSpecialTokens bool
}

// Warmup is the number of steps of learning-rate warm-up in a run of total steps.
func (t Training) Warmup(total int) int {
	if t.WarmupSteps > 0 {
		return t.WarmupSteps
	}
	return int(math.Ceil(float64(total) * t.WarmupRatio))
}

// ResolveSteps converts logging_steps, eval_steps and save_steps given as a share of the run
// (below 1) to steps of a run of total steps. Before that, such a value is 0.
func (t *Training) ResolveSteps(total int) {
	for i, p := range []*int{&t.LoggingSteps, &t.EvalSteps, &t.SaveSteps} {
		if share := t.intervals[i]; share > 0 && share < 1 {
			*p = max(1, int(math.Ceil(float64(total)*share)))
		}
	}
}

// Given reports whether a key is set in the file or by an override.
func (c *Config) Given(key string) bool {
	_, ok := c.root.Get(key)
	return ok
}

// At is the place where a key's value was set: "file:line:column" or "override 'key=value'",
// or a note that the default applies.
func (c *Config) At(key string) string {
	if e, ok := c.root.Get(key); ok {
		return e.Value.Pos.String()
	}
	if k, ok := lookup(key); ok && k.Default != "null" {
		return fmt.Sprintf("%s (%s is not set: the default is %s)", c.File, key, k.Default)
	}
	return fmt.Sprintf("%s (%s is not set)", c.File, key)
}

// Errorf makes an error about a key's value: place, key, complaint, and the line with a
// caret. %w works as in fmt.Errorf.
func (c *Config) Errorf(key, format string, args ...any) error {
	err := fmt.Errorf(key+": "+format, args...)
	if e, ok := c.root.Get(key); ok {
		return e.Value.Pos.Errorf("%w", err)
	}
	return yamlfile.Position{File: c.File}.Errorf("%w", err)
}

// Unsupported returns an error for each of the keys that has a value other than its default:
// for a loop that does not implement the key.
func (c *Config) Unsupported(keys ...string) error {
	var f faults
	for _, key := range keys {
		k, ok := lookup(key)
		if !ok {
			panic("config: Unsupported: there is no key " + key)
		}
		if e, given := c.root.Get(key); given && !isDefault(k, e.Value) {
			f.add(c.Errorf(key, "it is not supported yet: remove it"))
		}
	}
	return f.err()
}

// Notices lists, one line each, the given keys that have no effect here, with the reason.
func (c *Config) Notices() []string { return c.notices }

// Unmet lists, one line each, the given keys whose function is missing here, with another
// way to get it: unlike a notice, each is something the user goes without.
func (c *Config) Unmet() []string { return c.unmet }

// Load reads a training configuration and applies key=value overrides. Every fault that can
// be found without opening model or data is an error here.
func Load(file string, overrides []string) (*Config, error) {
	return load(file, overrides, validateTraining)
}

// stdin is the content of standard input, which can only be read once.
var stdin = sync.OnceValues(func() ([]byte, error) { return io.ReadAll(os.Stdin) })

// Read reads a configuration from a file, from standard input ("-") or from nothing (""),
// and applies key=value overrides. Nothing is checked.
func Read(file string, overrides []string) (*yamlfile.Value, error) {
	var root *yamlfile.Value
	var err error
	switch file {
	case "":
		root = &yamlfile.Value{Kind: yamlfile.Map}
	case "-":
		var text []byte
		if text, err = stdin(); err == nil {
			root, err = yamlfile.Parse("standard input", text)
		}
	default:
		root, err = yamlfile.Load(file)
		if err != nil && storage.Exists(filepath.Join(file, "config.json")) {
			err = fmt.Errorf("%s is a model's folder, and a configuration is expected here: write --model_name_or_path %[1]s, or name a YAML file that does", file)
		}
	}
	if err != nil {
		return nil, err
	}
	over, err := yamlfile.Overrides(overrides)
	if err != nil {
		return nil, err
	}
	root.Merge(over)
	return root, nil
}

// LoadExport reads the configuration of `export`: keys for training are accepted and have no
// effect.
func LoadExport(file string, overrides []string) (*Config, error) {
	return load(file, overrides, validateExport)
}

// LoadGenerate reads the configuration of `generate` and `chat`: keys for training are
// accepted and have no effect.
func LoadGenerate(file string, overrides []string) (*Config, error) {
	return load(file, overrides, validateGenerate)
}

func load(file string, overrides []string, validate func(*Config, *faults)) (*Config, error) {
	root, err := Read(file, overrides)
	if err != nil {
		return nil, err
	}
	c := &Config{File: cmp.Or(file, "the command line"), root: root}
	var f faults
	c.assignAll(&f)
	if len(f) == 0 {
		c.derive(&f)
		c.findModels()
		validate(c, &f)
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return c, nil
}

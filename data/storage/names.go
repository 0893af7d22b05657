package storage

import "strconv"

// The names of a model's and a checkpoint's files, as transformers and PEFT give them.
const (
	ConfigFile        = "config.json"
	ModelFile         = "model.safetensors"
	ModelIndexFile    = "model.safetensors.index.json"
	AdapterFile       = "adapter_model.safetensors"
	AdapterConfigFile = "adapter_config.json"
	TrainerStateFile  = "trainer_state.json"
)

// The names that are our own.
const (
	ManifestFile  = "manifest.json"         // sizes and hashes of a folder's files
	StateFile     = "dataflex_state.json"   // of a checkpoint: the state of the training loop
	RunFile       = "dataflex_run.json"     // of a run's folder: the identity of the run
	OptimizerFile = "optimizer.safetensors" // of a checkpoint: the optimizer's moments
	LockFile      = ".lock"                 // of a run's folder: the lock that the one process writing there holds
)

// StepPrefix begins the name of a checkpoint's folder.
const StepPrefix = "checkpoint-"

// StepName is the folder name of a checkpoint after that many optimizer steps.
func StepName(step int) string { return StepPrefix + strconv.Itoa(step) }

package train

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/curriculum"
	"dataflex.dev/dataflex/algo/tuning"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/optim"
)

// Check returns every fault of a run that can be found before a row is read or a weight is
// loaded: models and adapters that are missing or of an unsupported kind, a checkpoint to
// resume from that does not exist, a component that its own constructor refuses because of
// its parameters, files, programs or judges.
func Check(c *config.Config) []error {
	if err := c.ModelsHere(); err != nil {
		return split(err)
	}
	var faults []error
	add := func(err error) {
		if err != nil {
			faults = append(faults, split(err)...)
		}
	}
	add(supported(c))
	model, err := decoder.Outline(c.Model.NameOrPath, decoder.Options{}, c.Model.TrainFromScratch)
	if err != nil {
		add(c.Errorf("model_name_or_path", "%w", err))
		return faults
	}
	defer model.Close()
	for _, dir := range c.Model.AdapterNameOrPath {
		if _, err := checkpoint.ReadAdapterConfig(filepath.Join(dir, c.Model.AdapterFolder)); err != nil {
			add(c.Errorf("adapter_name_or_path", "%w", err))
		}
	}
	add(tuning.CheckQuantised(c))
	add(checkResume(c))
	add(folderFits(c, "output_dir", c.Training.OutputDir))
	add(folderFits(c, "tokenized_path", c.Data.TokenizedPath))
	if c.Training.DoTrain {
		add(tuning.CheckNames(c))
		add(checkComponent(c, model))
	}
	return faults
}

// folderFits returns an error if a folder that will be created, or written to, is a file or
// is below one.
func folderFits(c *config.Config, key, dir string) error {
	for at := dir; at != ""; at = filepath.Dir(at) {
		info, err := storage.Stat(at)
		switch {
		case err == nil && !info.IsDir():
			return c.Errorf(key, "%s cannot be a folder: %s is a file", dir, at)
		case err == nil || at == filepath.Dir(at):
			return nil
		}
	}
	return nil
}

// split returns the single errors of a configuration.
func split(err error) []error {
	if many := config.Faults(nil); errors.As(err, &many) {
		return many
	}
	return []error{err}
}

func checkResume(c *config.Config) error {
	dir := c.Training.ResumeFromCheckpoint.Path
	if dir == "" {
		return nil
	}
	info, err := storage.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		newest, _, _, err := checkpoint.Newest(c.Training.OutputDir)
		if err != nil || newest == "" {
			return c.Errorf("resume_from_checkpoint", "there is no folder %s, and no checkpoint in output_dir either: remove it to start at step 0", dir)
		}
		return c.Errorf("resume_from_checkpoint", "there is no folder %s; the newest checkpoint of output_dir is %s", dir, newest)
	case err != nil:
		return c.Errorf("resume_from_checkpoint", "%w", err)
	case !info.IsDir():
		return c.Errorf("resume_from_checkpoint", "%s is a file; a checkpoint is a folder", dir)
	}
	return nil
}

// checkRanks refuses methods whose decisions DataFlex makes in each process separately.
func checkRanks(c *config.Config, component *config.Component) error {
	if c.Training.Ranks == 1 || component.Mode != string(algo.Upstream) {
		return nil
	}
	switch c.Dynamic.TrainType {
	case config.DynamicMix, config.DynamicWeight, config.DynamicLego:
		return c.Errorf("ranks", "in mode upstream of %s every rank would decide from its own rows only: set mode: faithful, which decides once, from all rows", c.Dynamic.TrainType)
	}
	return nil
}

// checkComponent builds the component as setUp does, with the outline of a run.
func checkComponent(c *config.Config, model *decoder.Model) error {
	d := c.Dynamic
	if d.TrainType == config.Static || d.TrainType == config.DynamicMix && d.StaticMix {
		return nil
	}
	component, err := c.Component()
	if err != nil {
		return err
	}
	if err := checkRanks(c, component); err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	name := c.Training.Optim
	if c.Tuning.UseMuon {
		name = optim.MuonName
	}
	optimizer, err := optim.New(name, nil, nil, optim.Settings{Beta1: c.Training.AdamBeta1, Beta2: c.Training.AdamBeta2, Eps: c.Training.AdamEpsilon})
	if err != nil {
		return c.Errorf("optim", "%w", err)
	}
	run := &algo.Run{
		Outline: true, Model: model, Optimizer: optimizer, Train: make([]data.Example, 1),
		Seed: uint64(c.Training.Seed), UpdatesPerEpoch: max(0, d.UpdateTimes), Log: log, Tokenizer: new(tokenizer.Tokenizer),
	}
	if len(c.Data.EvalDataset) > 0 || c.Data.ValSize > 0 {
		run.Eval = make([]data.Example, 1)
	}
	var domains []algo.Domain
	for _, name := range c.Data.Dataset {
		domains = append(domains, algo.Domain{Name: name, Rows: []int{0}})
	}
	switch d.TrainType {
	case config.DynamicSelect:
		_, err = algo.BuildSelector(run, component)
	case config.DynamicMix:
		_, err = algo.BuildMixer(run, domains, component)
	case config.DynamicWeight:
		_, err = algo.BuildWeighter(run, component)
	case config.DynamicReorder:
		err = curriculum.CheckOrder(c, run, component)
	case config.DynamicLego:
		err = curriculum.CheckPipeline(c, run, domains, component)
	}
	if err != nil {
		return fmt.Errorf("component %s: %w", d.ComponentName, err)
	}
	return nil
}

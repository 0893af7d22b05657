package tuning

import (
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/model/checkpoint"
)

// CheckNames is an error where a key names a module that the model does not have, judging by
// the names of its weights.
func CheckNames(c *config.Config) error {
	if c.Model.TrainFromScratch || c.Tuning.FinetuningType == config.Full {
		return nil
	}
	w, err := checkpoint.OpenWeights(c.Model.NameOrPath)
	if err != nil { // reported elsewhere
		return nil
	}
	defer w.Close()
	if c.Tuning.FinetuningType == config.Freeze {
		return checkFrozen(c, w.Names())
	}
	for _, t := range c.Tuning.AdditionalTarget {
		if t != "lm_head" && !slices.ContainsFunc(w.Names(), func(name string) bool { return strings.Contains("."+name+".", "."+t+".") }) { // a tied head has no weights
			return c.Errorf("additional_target", "%s names no module of %s", t, c.Model.NameOrPath)
		}
	}
	return checkTargets(c, w)
}

// checkFrozen looks for the modules that freeze tuning trains.
func checkFrozen(c *config.Config, names []string) error {
	inside, outside := map[string]bool{}, map[string]bool{"lm_head": true}
	for _, name := range names {
		if inLayer.MatchString(name) {
			inside[module(name)] = true
		} else {
			outside[module(name)] = true
		}
	}
	for _, of := range []struct {
		key   string
		names []string
		have  map[string]bool
	}{{"freeze_trainable_modules", c.Tuning.FreezeTrainableModules, inside}, {"freeze_extra_modules", c.Tuning.FreezeExtraModules, outside}} {
		for _, m := range of.names {
			if m != "all" && !of.have[m] {
				return c.Errorf(of.key, "module %s is not found, please choose from %s", m, strings.Join(sortedKeys(of.have), ", "))
			}
		}
	}
	return nil
}

// module is freeze tuning's name for the module of a parameter: the name below the layer, or
// outside of layers the last name before the parameter's own.
func module(parameter string) string {
	if m := inLayer.FindStringSubmatch(parameter); m != nil {
		return m[1]
	}
	parts := strings.Split(parameter, ".")
	return parts[max(0, len(parts)-2)]
}

// checkTargets looks for the modules of lora_target in a dense model.
func checkTargets(c *config.Config, w *checkpoint.Weights) error {
	if len(c.Model.AdapterNameOrPath) > 0 || slices.Contains(c.Tuning.LoRATarget, "all") {
		return nil
	}
	var last []string
	for _, name := range w.Names() {
		path, ok := strings.CutSuffix(name, ".weight")
		if !ok {
			continue
		}
		if slices.ContainsFunc(c.Tuning.LoRATarget, func(t string) bool { return path == t || strings.HasSuffix(path, "."+t) }) {
			return nil
		}
		if strings.Contains(name, "expert") { // folders name the experts' modules in several ways
			return nil
		}
		if shape, _ := w.Shape(name); inLayer.MatchString(name) && len(shape) == 2 {
			last = append(last, path[strings.LastIndexByte(path, '.')+1:])
		}
	}
	slices.Sort(last)
	return c.Errorf("lora_target", "%s names no module of %s: choose all, or of %s", strings.Join(c.Tuning.LoRATarget, ", "), c.Model.NameOrPath, strings.Join(slices.Compact(last), ", "))
}

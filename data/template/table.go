package template

import "maps"

// table holds all templates by name. The texts are the formats the models were
// tuned on, as LLaMA-Factory 0.9.4 names and spells them, or the later version that added one.
var table = func() map[string]Template {
	all := map[string]Template{}
	for _, part := range []map[string]Template{tableAD, tableEK, tableLN, tableOZ} {
		maps.Copy(all, part)
	}
	return all
}()

package recipe

var pipelines = []Method{
	{
		Name: "pipeline", Kind: Lego,
		Formula: `
index stages   pool -> selector (a share of it) -> mixer (quotas of the data sets) -> reorder -> windows of update_step steps
loss stages    w = product of the weighters' weights and a mixer's like DoReMi, mean 1 over an optimizer step`,
		Params: []Parameter{
			{"stages", "list", "", "", "family (selector, mixer, reorder, weighter) and component of each; at most one selector, mixer and reorder"},
			{"stages.family", "text", "", "", "of the component: its part of this file without the s"},
			{"stages.component", "text", "", "", "its entry there; without a mode of its own it has the pipeline's"},
			{"stages.enabled", "bool", "true", "", "false leaves the stage out"},
			{"stages.warmup_step", "integer", "0", "", "steps before the stage takes part"},
			{"stages.every", "integer", "1", "", "steps that its decision holds, at least those of a window"},
			{"stages.score_max_age", "integer", "0", "", "steps that a loss may be old which the stage takes from another"},
			{"stages.mode", "text", "filter", "", "of a selector: filter keeps keep_ratio of the pool, draw takes the window"},
			{"stages.keep_ratio", "number", "0.5", "", "of a selector that filters"},
			{"stages.allow_replacement", "bool", "false", "", "of a mixer: a data set that is too small gives rows twice"},
			{"cache_dir", "text", "", "", "each selector's step files, in a folder of its own, and the plans"},
			{"save_plans", "bool", "false", "", "write scoreboard_step_N.json: a window's rows and their losses"},
			{"seed", "integer", "42", "", "of the draws; faithful: the run's where it is left out"},
			{"score_batch_size", "integer", "8", "", "no effect: batches are by tokens"},
			{"score_num_workers", "integer", "2", "", "no effect"},
		},
		Mode: "A plan is trained on again until a stage is due; every boundary serves the head of an order again; draws depend on the step alone; init_mixture_proportions is not read; " +
			"of weighters only loss and custom run, alone; evaluations are plain here all the same, and DoReMi's loss is divided by gradient_accumulation_steps.",
		Cost:  "That of its stages; a row goes through the model once at a step, however many of them ask for its loss.",
		Loses: "Where one decision would do: every further stage is one more thing that can be wrong. A filter by loss keeps wrong answers as readily as hard ones.",
	},
}

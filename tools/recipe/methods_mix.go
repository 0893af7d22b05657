package recipe

var mixers = []Method{
	{
		Name: "odm", Kind: Mix, Component: "odm",
		Formula: `
ε_t = min(1/K, √(ln K / (K t)))
π_t = (1 - K ε_t) softmax(ε_{t-1} R̂) + ε_t
R̂_i ← α R̂_i + (1-α) L_i / π_i`,
		Params: []Parameter{
			{"alpha", "number", "0.9", "", "decay of the reward's moving average"},
			{"warmup_steps", "integer", "2000", "", "steps before t starts"},
			{"variant", "text", "paper", "", "official: the authors' program, exp(L) and R̂/ΣR̂ instead of the softmax"},
			{"initial_proportions", "numbers", "", "", "the shares at the start; init_mixture_proportions, or equal ones, when left out"},
			{"reward_scale", "number", "15", "", "no effect: upstream's registry drops it, and the factor of a loss is 15"},
			{"min_exploration_rate", "number", "0.03", "", "no effect: upstream's registry drops it, and the least ε is 0.03"},
			{"first_sample", "bool", "", "true", "mode upstream: a micro-batch is attributed to the domain of its first row, else of most of its rows"},
		},
		Mode:  "R̂ is updated at updates only, for one domain, with the loss of the last micro-batch times 15; ε is at least 0.03, whatever `reward_scale` and `min_exploration_rate` say.",
		Cost:  "None: the losses of the steps are used.",
		Loses: "High loss is taken as a sign of something to learn: a data set of noise is drawn most. Where no domain is learned early it gains nothing over equal shares.",
	},
	{
		Name: "doremi", Kind: Mix, Component: "doremi",
		Formula: `
λ_i = Σ max(ℓ_θ - ℓ_ref, 0) / tokens,   over domain i's tokens
α   ← (1-c) α exp(η λ) / Σ + c/k;   θ is trained on Σ α_i (mean loss of domain i)
step 3 trains on the mean of α`,
		Params: []Parameter{
			{"reference_model_path", "text", "", "", "the result of step 1: the folder of a model or an adapter"},
			{"reweight_eta", "number", "1", "", "η: the step size of the shares"},
			{"reweight_eps", "number", "0.001", "", "c: the share that is distributed evenly"},
			{"reweight_loss", "bool", "true", "false", "whether θ is trained on α-weighted losses"},
			{"normalizer", "text", "paper", "", "official: α-weighted tokens over the sum of their α"},
		},
		Mode:  "α is updated at updates only, from the last micro-batch; λ is centred and clipped to ±5; θ is trained unweighted.",
		Cost:  "Two more trainings (steps 1 and 2), and in step 2 a forward pass of the reference with every step.",
		Loses: "A small proxy's shares need not suit the large model. Short runs find little: α changes slowly. Domains whose excess loss is noise gain weight.",
	},
	{
		Name: "dynamic_moe", Kind: Mix, Component: "dynamic_moe",
		Formula: `
o_i = the experts' shares of the last router over domain i's evaluation rows
Δ_i = mean over j of ‖o_i - o_j‖₂
w   ← (1-c) softmax(log w + η Δ) + c/D`,
		Params: []Parameter{
			{"eta", "number", "10", "", "η: the step size of the shares"},
			{"c", "number", "0.05", "", "the share that is distributed evenly"},
			{"eval_samples", "integer", "1000", "", "rows of each domain that are set aside for this, at most half"},
			{"collect_steps", "integer", "10", "", "batches evaluated"},
			{"eval_batch_size", "integer", "32", "", "rows of such a batch"},
		},
		Mode:  "The same, except that upstream may draw the rows set aside for training, which is not reproduced.",
		Cost:  "A forward pass over `collect_steps` × `eval_batch_size` rows of every domain at every update.",
		Loses: "Different domains are assumed to be useful. The model must be a mixture of experts.",
	},
	{
		Name: "mix_static", Kind: Mix, Component: "static",
		Formula: `the same shares at every update`,
		Params:  []Parameter{{"proportions", "numbers", "", "", "in the order of dataset; equal shares when left out"}},
		Cost:    "None.", Loses: "It is the baseline of the other mixers.",
	},
	{
		Name: "mix_random", Kind: Mix, Component: "random",
		Formula: `uniform numbers, scaled to sum to 1`,
		Params: []Parameter{
			{"draw", "text", "per_update", "fixed", "per_update: new ones at every update; fixed: always the same"},
			{"seed", "integer", "42", "", "the run's when left out"},
		},
		Mode: "The same shares at every update.",
		Cost: "None.", Loses: "It is for comparison.",
	},
}

var weighters = []Method{
	{
		Name: "weight_loss", Kind: Weight, Component: "loss",
		Formula: `
x = the losses of the step scaled to [-δ, δ]
f = min(x+δ, δ) linupper | 1 - x²/δ² quadratic | |x| extremes | 0 uniform
w ∝ exp(f/r),  mean 1`,
		Params: []Parameter{
			{"strategy", "text", "linupper", "", "linupper: full weight from the middle up; quadratic: the middle; extremes: both ends; uniform: none"},
			{"delta", "number", "1", "", "δ"},
			{"r", "number", "1", "", "how uniform the weights are in the end"},
			{"initial_r", "number", "1", "", "and at the start (default r): large is close to uniform"},
			{"r_schedule", "text", "constant", "", "or linear, cosine, between the two"},
			{"r_steps", "integer", "0", "", "steps after which r is reached; 0: the whole run"},
		},
		Mode:  "The group is a micro-batch, r is 1, uniform is f = x, and the loss is the weighted sum of the rows' mean losses.",
		Cost:  "One more forward pass per step.",
		Loses: "On wrong answers, whose losses are the highest: no strategy avoids only high losses. On refusals, whose losses are low, linupper helps.",
	},
	{
		Name: "weight_adapt", Kind: Weight, Component: "adapt",
		Formula: `
φ = a row's hidden states after the final norm, averaged with weights 1, 2, 3, …, normalised
w = σ(mean over the evaluation rows of φ·φ_a / τ),  at most clip`,
		Params: []Parameter{
			{"tau", "number", "1", "", "τ: smaller gives similarity more influence"},
			{"refresh_interval", "integer", "50", "", "steps after which the evaluation rows' vectors are recomputed"},
			{"clip", "number", "", "", "the largest weight; none when left out"},
			{"anchor_batch_size", "integer", "8", "", "no effect: batches are by tokens"},
		},
		Mode:  "The loss is the plain sum of w times the rows' mean losses; faithful scales the weights to mean 1 and normalises by tokens.",
		Cost:  "One more forward pass per step, and one over the evaluation set every `refresh_interval` steps.",
		Loses: "σ of a cosine at τ 1 is between 0.50 and 0.73: the effect is small. Rows unlike the evaluation set get less weight, even good ones.",
	},
	{
		Name: "weight_joint_update_aware", Kind: Weight, Component: "joint_update_aware",
		Formula: `
z = hidden states of the step's rows, u = mean of the evaluation rows', s = Zu, S = ZZᵀ
w = argmax over the simplex of  sᵀw - (β/2) wᵀSw + τ H(w)`,
		Params: []Parameter{
			{"beta", "number", "0.1", "", "β: larger gives rows that are similar to others of the step less weight"},
			{"tau", "number", "0.05", "", "τ: smaller concentrates the weight on fewer rows"},
			{"objective_mode", "text", "full", "", "or align_only, diverse_only, uniform"},
			{"solver", "text", "exact", "iterations", "the solution, or fixed_point_iters steps towards it"},
			{"fixed_point_iters", "integer", "5", "", "of solver iterations"},
			{"damping", "number", "1", "", "ρ of these"},
			{"pooling", "text", "last_token", "", "or mean_pool: the positions whose states represent a row"},
			{"embed_layer", "integer", "-1", "", "whose states; -1 is the last"},
			{"embed_normalize", "bool", "true", "", "whether states are normalised"},
			{"target_update_step", "integer", "50", "", "steps after which the evaluation set is evaluated again"},
			{"target_batch_size", "integer", "1", "", "rows of a batch of it"},
			{"target_num_batches", "integer", "0", "1", "such batches; 0: all of it"},
		},
		Mode:  "The group is a micro-batch, u the next evaluation row, five undamped steps replace the solution; the loss is the weighted sum of the rows' mean losses.",
		Cost:  "One more forward pass per step, and one over the evaluation set every `target_update_step` steps.",
		Loses: "It gives little weight to rows unlike the evaluation set, even useful ones; at small τ a single row dominates the step.",
	},
	{
		Name: "weight_custom", Kind: Weight, Component: "custom",
		Formula: `
→ {"step":4,"total":12,"strategy":"mine","rows":[{"index":7,"dataset":"d","row":7,"micro_batch":0,"labels":31,"loss":1.2},…]}
← {"weights":[0.5,…]}`,
		Params: []Parameter{
			{"command", "texts", "", "", "the program and its arguments; without it all rows have the same weight"},
			{"strategy", "text", "uniform", "", "a word passed to the program"},
			{"timeout", "number", "600", "", "seconds for one answer"},
		},
		Mode: "The weights are used unchanged for a sum of the rows' mean losses; faithful scales them to mean 1.",
		Cost: "Your program's, and one more forward pass per step.", Loses: "As your program does.",
	},
}

var reorders = []Method{
	{
		Name: "reorder", Kind: Order,
		Formula: `
rows sorted by score, then arranged in a pattern:
sorting  once through        folding  every layers-th row, layers times     zigzag  folding, back and forth
stair, saw  sections, mixed at their boundaries     segment  x % from one end first, y % last     shuffle  none`,
		Params: []Parameter{
			{"kind", "text", "static", "", "static: scores do not change; dynamic: the remaining rows are scored again"},
			{"pattern", "text", "sorting", "", "shuffle, sorting, folding, zigzag, stair, saw or segment"},
			{"pattern_params", "map", "", "", "the pattern's parameters; they may also be given beside it"},
			{"pattern_params.layers", "integer", "", "", "folding, zigzag, stair, saw: the number of layers (folding_layer and zigzag_layer are upstream's spellings)"},
			{"pattern_params.folding_layer", "integer", "", "", "layers"},
			{"pattern_params.zigzag_layer", "integer", "", "", "layers"},
			{"pattern_params.num_sections", "integer", "2", "", "stair, saw: the sections"},
			{"pattern_params.folding_ratio", "number", "0", "", "stair, saw: the share of the rows that is mixed at a boundary"},
			{"pattern_params.x_pct", "number", "10", "", "segment: per cent that come first"},
			{"pattern_params.y_pct", "number", "10", "", "segment: per cent that come last"},
			{"pattern_params.front_is_high", "bool", "false", "", "segment: the first are those of high score"},
			{"pattern_params.back_is_high", "bool", "true", "", "segment: the last are"},
			{"polarity", "text", "higher_later", "", "or higher_earlier, which is the default of kind dynamic in mode upstream"},
			{"ascending", "bool", "true", "", "false reverses polarity"},
			{"score_source", "text", "precomputed", "", "precomputed, cached_selection or model_loss (the default of kind dynamic)"},
			{"score_params", "map", "", "", "what the source needs"},
			{"score_params.score_field", "text", "score", "", "precomputed: the rows' column"},
			{"score_params.score_path", "text", "", "", "precomputed: a .npy, .json or .jsonl instead"},
			{"score_params.cache_path", "text", "", "", "cached_selection: a step_N.json, or the folder of several"},
			{"score_params.metric_key", "text", "loss", "", "cached_selection: which of its metrics"},
			{"score_params.fill_value", "number", "0", "", "cached_selection: the score of rows that are not in it; an error when left out"},
			{"score_params.max_samples", "integer", "0", "", "model_loss: the maximum number of rows scored; 0: all"},
			{"score_params.seed", "integer", "42", "", "model_loss: of their choice"},
			{"score_params.batch_size", "integer", "8", "", "no effect: batches are by tokens"},
			{"score_params.num_workers", "integer", "2", "", "no effect"},
			{"reorder_every", "integer", "1", "", "dynamic: windows of update_step steps after which rows are scored again"},
			{"consume_once", "bool", "true", "", "dynamic: a row is trained on once in a pass"},
			{"rescore", "text", "match", "head", "dynamic: match keeps the pattern over the whole pass; head takes the head of the remaining rows"},
			{"apply_at", "text", "raw", "", "static: scores of a file are those of the rows of the files (raw) or of the tokenised rows (index)"},
			{"window_size", "integer", "0", "", "rows within which the order is shuffled; 0: none"},
			{"seed", "integer", "42", "", "of all that is shuffled"},
			{"layers", "integer", "", "", "as in pattern_params"},
			{"folding_layer", "integer", "", "", "likewise"},
			{"zigzag_layer", "integer", "", "", "likewise"},
			{"num_sections", "integer", "", "", "likewise"},
			{"folding_ratio", "number", "", "", "likewise"},
			{"x_pct", "number", "", "", "likewise"},
			{"y_pct", "number", "", "", "likewise"},
			{"front_is_high", "bool", "", "", "likewise"},
			{"back_is_high", "bool", "", "", "likewise"},
		},
		Mode:  "Missing scores sort last, ties are reversed when descending, the order stops or wraps where the steps end; dynamic: the head of the remaining rows, hardest first.",
		Cost:  "model_loss: a forward pass over the rows, for kind dynamic over the remaining rows at every window; else none.",
		Loses: "An order is only meaningful over whole passes: a run that would end within one is refused, and so are packed rows. With sorted data the model forgets what came first.",
	},
}

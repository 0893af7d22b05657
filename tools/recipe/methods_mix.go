package recipe

var mixers = []Method{
	{
		Name: "odm", Kind: Mix, Component: "odm",
		Formula: `
ε_t = min(1/K, √(ln K / (K t)))
π_t = (1 - K ε_t) softmax(ε_{t-1} R̂) + ε_t
R̂_i ← α R̂_i + (1-α) L_i / π_i`,
		Params: []Parameter{
			{"alpha", "number", "0.9", "", "how slowly a reward is forgotten"},
			{"warmup_steps", "integer", "2000", "", "steps before t counts"},
			{"variant", "text", "paper", "", "official: the authors' program, exp(L) and R̂/ΣR̂ in place of the softmax"},
			{"initial_proportions", "numbers", "", "", "the shares at the start; init_mixture_proportions, or equal ones, when left out"},
			{"reward_scale", "number", "15", "", "mode upstream: what a loss is multiplied by"},
			{"min_exploration_rate", "number", "0.03", "", "mode upstream: the least ε"},
			{"first_sample", "bool", "", "true", "mode upstream: a micro-batch counts for the domain of its first row, else of its most rows"},
		},
		Mode:  "R̂ moves at updates only, for one domain, by the loss of the last micro-batch times `reward_scale`; ε is at least `min_exploration_rate`.",
		Cost:  "None: the losses of the steps are used.",
		Loses: "High loss is taken for something to learn: a data set of noise is drawn most. Where no domain is learnt soon it gains nothing over equal shares.",
	},
	{
		Name: "doremi", Kind: Mix, Component: "doremi",
		Formula: `
λ_i = Σ max(ℓ_θ - ℓ_ref, 0) / tokens,   over domain i's tokens
α   ← (1-c) α exp(η λ) / Σ + c/k;   θ steps on Σ α_i (mean loss of domain i)
step 3 trains on the mean of α`,
		Params: []Parameter{
			{"reference_model_path", "text", "", "", "what step 1 left: a model's folder, or an adapter's"},
			{"reweight_eta", "number", "1", "", "η: the size of a step of the shares"},
			{"reweight_eps", "number", "0.001", "", "c: the share that is spread evenly"},
			{"reweight_loss", "bool", "true", "false", "whether θ is trained on α-weighted losses"},
			{"normalizer", "text", "paper", "", "official: α-weighted tokens over the sum of their α"},
		},
		Mode:  "α moves at updates only, from the last micro-batch; λ is centred and clipped to ±5; θ is trained unweighted.",
		Cost:  "Two more trainings (steps 1 and 2), and in step 2 a forward pass of the reference with every step.",
		Loses: "A small proxy's shares need not be the large model's. Short runs find little: α moves slowly. Domains whose excess loss is noise gain weight.",
	},
	{
		Name: "dynamic_moe", Kind: Mix, Component: "dynamic_moe",
		Formula: `
o_i = the experts' shares of the last router over domain i's evaluation rows
Δ_i = mean over j of ‖o_i - o_j‖₂
w   ← (1-c) softmax(log w + η Δ) + c/D`,
		Params: []Parameter{
			{"eta", "number", "10", "", "η: the size of a step of the shares"},
			{"c", "number", "0.05", "", "the share that is spread evenly"},
			{"eval_samples", "integer", "1000", "", "rows of each domain that are set aside for this, at most half"},
			{"collect_steps", "integer", "10", "", "batches looked at"},
			{"eval_batch_size", "integer", "32", "", "rows of such a batch"},
		},
		Mode:  "The same, but that rows set aside may be drawn for training, which is not reproduced.",
		Cost:  "A forward pass over `collect_steps` × `eval_batch_size` rows of every domain at every update.",
		Loses: "Being different is taken for being useful. The model must be a mixture of experts.",
	},
	{
		Name: "mix_static", Kind: Mix, Component: "static",
		Formula: `the same shares at every update`,
		Params:  []Parameter{{"proportions", "numbers", "", "", "in the order of dataset; equal shares when left out"}},
		Cost:    "None.", Loses: "It is what the other mixers have to beat.",
	},
	{
		Name: "mix_random", Kind: Mix, Component: "random",
		Formula: `uniform numbers, scaled to sum to 1`,
		Params: []Parameter{
			{"draw", "text", "per_update", "fixed", "others at every update, or the same"},
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
			{"r", "number", "1", "", "how flat the weights are in the end"},
			{"initial_r", "number", "1", "", "and at the start (r when left out): large is close to uniform"},
			{"r_schedule", "text", "constant", "", "or linear, cosine, between the two"},
			{"r_steps", "integer", "0", "", "steps after which r holds; 0: the whole run"},
		},
		Mode:  "The group is a micro-batch, r is 1, uniform is f = x, and the loss is the weighted sum of the rows' mean losses.",
		Cost:  "A forward pass more for every step.",
		Loses: "On wrong answers, whose losses are the highest: no strategy turns from high losses alone. On refusals, whose losses are low, linupper helps.",
	},
	{
		Name: "weight_adapt", Kind: Weight, Component: "adapt",
		Formula: `
φ = a row's hidden states after the final norm, averaged with weights 1, 2, 3, …, made unit
w = σ(mean over the evaluation rows of φ·φ_a / τ),  at most clip`,
		Params: []Parameter{
			{"tau", "number", "1", "", "τ: smaller, likeness counts more"},
			{"refresh_interval", "integer", "50", "", "steps after which the evaluation rows are looked at again"},
			{"clip", "number", "", "", "the largest weight; none when left out"},
			{"anchor_batch_size", "integer", "8", "", "no effect: batches are by tokens"},
		},
		Mode:  "The loss is the plain sum of w times the rows' mean losses; faithful scales the weights to mean 1 and keeps tokens as the unit.",
		Cost:  "A forward pass more for every step, and one over the evaluation set every `refresh_interval` steps.",
		Loses: "σ of a cosine at τ 1 lies between 0.50 and 0.73: little happens. Rows unlike the evaluation set weigh less, the good ones too.",
	},
	{
		Name: "weight_joint_update_aware", Kind: Weight, Component: "joint_update_aware",
		Formula: `
z = hidden states of the step's rows, u = mean of the evaluation rows', s = Zu, S = ZZᵀ
w = argmax over the simplex of  sᵀw - (β/2) wᵀSw + τ H(w)`,
		Params: []Parameter{
			{"beta", "number", "0.1", "", "β: larger, rows like others of the step weigh less"},
			{"tau", "number", "0.05", "", "τ: smaller, fewer rows have all the weight"},
			{"objective_mode", "text", "full", "", "or align_only, diverse_only, uniform"},
			{"solver", "text", "exact", "iterations", "the solution, or fixed_point_iters steps towards it"},
			{"fixed_point_iters", "integer", "5", "", "of solver iterations"},
			{"damping", "number", "1", "", "ρ of these"},
			{"pooling", "text", "last_token", "", "or mean_pool: which positions' states stand for a row"},
			{"embed_layer", "integer", "-1", "", "whose states; -1 is the last"},
			{"embed_normalize", "bool", "true", "", "made unit"},
			{"target_update_step", "integer", "50", "", "steps after which the evaluation set is looked at again"},
			{"target_batch_size", "integer", "1", "", "rows of a batch of it"},
			{"target_num_batches", "integer", "0", "1", "such batches; 0: all of it"},
		},
		Mode:  "The group is a micro-batch, u the next one evaluation row, five undamped steps stand for the solution; the loss is the weighted sum of the rows' mean losses.",
		Cost:  "A forward pass more for every step, and one over the evaluation set every `target_update_step` steps.",
		Loses: "It turns from rows that are unlike the evaluation set, useful or not; at small τ one row has the step.",
	},
	{
		Name: "weight_custom", Kind: Weight, Component: "custom",
		Formula: `
→ {"step":4,"total":12,"strategy":"mine","rows":[{"index":7,"dataset":"d","row":7,"micro_batch":0,"labels":31,"loss":1.2},…]}
← {"weights":[0.5,…]}`,
		Params: []Parameter{
			{"command", "texts", "", "", "the program and its arguments; without it rows weigh alike"},
			{"strategy", "text", "uniform", "", "a word that the program is told"},
			{"timeout", "number", "600", "", "seconds for one answer"},
		},
		Mode: "The weights are taken as they are for a sum of the rows' mean losses; faithful scales them to mean 1.",
		Cost: "Your program's, and a forward pass more for every step.", Loses: "As your program does.",
	},
}

var reorders = []Method{
	{
		Name: "reorder", Kind: Order,
		Formula: `
rows sorted by score, then laid out by a pattern:
sorting  once through        folding  every layers-th row, layers times     zigzag  folding, back and forth
stair, saw  sections, mixed at their borders     segment  x % from one end first, y % last     shuffle  none`,
		Params: []Parameter{
			{"kind", "text", "static", "", "static: scores stay; dynamic: rows that are left are scored again"},
			{"pattern", "text", "sorting", "", "shuffle, sorting, folding, zigzag, stair, saw or segment"},
			{"pattern_params", "map", "", "", "the pattern's numbers; they may also stand beside it"},
			{"pattern_params.layers", "integer", "", "", "folding, zigzag, stair, saw: how many times over (folding_layer and zigzag_layer are upstream's spellings)"},
			{"pattern_params.folding_layer", "integer", "", "", "layers"},
			{"pattern_params.zigzag_layer", "integer", "", "", "layers"},
			{"pattern_params.num_sections", "integer", "2", "", "stair, saw: the sections"},
			{"pattern_params.folding_ratio", "number", "0", "", "stair, saw: the share of the rows that is mixed at a border"},
			{"pattern_params.x_pct", "number", "10", "", "segment: per cent that come first"},
			{"pattern_params.y_pct", "number", "10", "", "segment: per cent that come last"},
			{"pattern_params.front_is_high", "bool", "false", "", "segment: the first are those of high score"},
			{"pattern_params.back_is_high", "bool", "true", "", "segment: the last are"},
			{"polarity", "text", "higher_later", "", "or higher_earlier, which is the default of kind dynamic in mode upstream"},
			{"ascending", "bool", "true", "", "false turns polarity round"},
			{"score_source", "text", "precomputed", "", "precomputed, cached_selection or model_loss (the default of kind dynamic)"},
			{"score_params", "map", "", "", "what the source needs"},
			{"score_params.score_field", "text", "score", "", "precomputed: the rows' column"},
			{"score_params.score_path", "text", "", "", "precomputed: a .npy, .json or .jsonl in its place"},
			{"score_params.cache_path", "text", "", "", "cached_selection: a step_N.json, or the folder of several"},
			{"score_params.metric_key", "text", "loss", "", "cached_selection: which of its metrics"},
			{"score_params.fill_value", "number", "0", "", "cached_selection: the score of rows that it has not; an error when left out"},
			{"score_params.max_samples", "integer", "0", "", "model_loss: of more rows so many are scored; 0: all"},
			{"score_params.seed", "integer", "42", "", "model_loss: of these"},
			{"score_params.batch_size", "integer", "8", "", "no effect: batches are by tokens"},
			{"score_params.num_workers", "integer", "2", "", "no effect"},
			{"reorder_every", "integer", "1", "", "dynamic: windows of update_step steps after which rows are scored again"},
			{"consume_once", "bool", "true", "", "dynamic: a row is trained on once in a pass"},
			{"rescore", "text", "match", "head", "dynamic: match keeps to the pattern over the whole pass; head takes the head of what remains"},
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
		Mode:  "Missing scores sort last, ties are reversed when descending, the order stops or wraps where the steps end; dynamic: the head of what remains, hardest first.",
		Cost:  "model_loss: a forward pass over the rows, for kind dynamic over what remains at every window; else none.",
		Loses: "One pass over the data: with several, or with rows that the order should not separate (a packed one), it says so. Sorted data forget what came first.",
	},
}

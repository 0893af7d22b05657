package recipe

import "slices"

func cacheDir(def string) Parameter {
	return Parameter{"cache_dir", "text", def, "", "the folder of step_N.json, the choice at step N, and of selections that later runs may reuse"}
}

// gradients are the parameters of the methods that compare gradients.
func gradients(cache, gradient, upstreamGradient, dim, upstreamDim, seed, upstreamSeed string) []Parameter {
	return []Parameter{
		cacheDir(cache),
		{"gradient_type", "text", gradient, upstreamGradient, "adam: the step that Adam would take with the row's gradient; sgd: the gradient itself"},
		{"projection", "text", "none", "trak", "none compares unprojected gradients; rademacher, gaussian and sjlt project them, and the run logs the error and the spread of the scores"},
		{"proj_dim", "integer", dim, upstreamDim, "of a projection; not used without one"},
		{"seed", "integer", seed, upstreamSeed, "of the rows of the warm-up, and of a projection"},
		{"subtask_by", "text", "column", "", "the parts of the evaluation set with which a row is compared separately: its `subtask` column, dataset, or none"},
		{"eps_inside", "bool", "false", "", "Adam's ε under the root, as in the authors' program"},
		{"save_interval", "integer", "16", "", "no effect: features are saved continuously"},
	}
}

var noBatches = []Parameter{
	{"score_batch_size", "integer", "1", "", "no effect: batches are limited by tokens"},
	{"score_num_workers", "integer", "2", "", "no effect: rows are in memory"},
}

const (
	oneBackward = "A forward and a backward pass over every row of the pool and of the evaluation set, at every selection; no gradient is stored, only one unprojected mean per subtask."
	oneForward  = "A forward pass over the pool at every selection."
)

var selectors = []Method{
	{
		Name: "less", Kind: Select, Component: "less",
		Formula: `
score(z) = max over the subtasks j of  mean over z' of j of  cos(Γ(z), ∇ℓ(z'))
Γ(z)     = m̂/(√v̂ + ε)   with Adam's moments after a step along ∇ℓ(z)      (gradient_type: adam)
chosen   = the rows with the largest scores`,
		Params: append(gradients("cache/less", "adam", "", "8192", "4096", "0", "123"),
			Parameter{"checkpoints", "texts", "", "", "folders of an earlier run whose scores are added up, instead of the model being trained"},
			Parameter{"checkpoint_weights", "numbers", "", "", "their weights; the mean learning rate of the steps up to each when left out"}),
		Mode:  "Raw moments with β .9/.999, ε outside the root, no bias correction; one mean over the whole evaluation set; TRAK's projection of gradients rounded to float16 to `proj_dim`.",
		Cost:  oneBackward,
		Loses: "A projection's error exceeds the spread of real scores (0.0063 at 4096 dimensions against 0.0019): leave `projection: none`. Under `adam`, rows without a gradient have the direction of the momentum. Where more rows of the target kind teach little, the choice hardly affects the loss.",
	},
	{
		Name: "nice", Kind: Select, Component: "nice",
		Formula: `
g(z')    = mean over the answers y to z' of  (R(y) - b) ∇ -log p(y | z')
score(z) = max over the subtasks of  mean of cos(Γ(z), g(z'))`,
		Params: slices.Concat(gradients("cache/nice", "adam", "", "8192", "", "42", ""), []Parameter{
			{"mc_samples", "integer", "20", "4", "answers to a question"},
			{"max_new_tokens", "integer", "512", "", "of an answer"},
			{"generation_temperature", "number", "1.2", "0.7", "of the answers"},
			{"top_k", "integer", "50", "", "tokens are sampled from this many most probable ones"},
			{"top_p", "number", "0.95", "1", "and of these from those that make up this probability"},
			{"max_prompt_length", "integer", "4096", "", "tokens; of longer ones the end is kept"},
			{"prompt_template", "text", `Follow the instruction. …`, "", "mode upstream's prompt, with {instruction} and {input}; faithful uses the run's template"},
			{"baseline", "text", "none", "", "b: none is 0, leave_one_out the mean reward of the other answers"},
			{"fallback", "text", "reference", "none", "a question whose answers earn no reward is represented by its reference answer (or none)"},
			{"policy_model_path", "text", "", "", "mode upstream's generating model"},
			{"reward", "text", "", "", "how answers are judged: exact_match, contains, numeric, reward_model, command or http"},
			{"reward_command", "texts", "", "", "command: the program and its arguments. After a failure it is asked only for the rewards that it has not given, so each should depend on its own line"},
			{"reward_timeout", "number", "600", "", "seconds: of command for all answers of a selection, of http for one"},
			{"reward_url", "text", "", "", "http: a chat completions endpoint. `check` and `train` test that it responds. Answers are kept in cache_dir as they come: after a failure only the others are asked for"},
			{"reward_model", "text", "", "", "http: the model's name there"},
			{"reward_temperature", "number", "0", "", "http"},
			{"reward_prompt", "text", "", "", "http: the prompt for the judge, with {prompt}, {reference} and {answer}"},
			{"reward_retries", "integer", "5", "", "http: retries after 408, 409, 429, 5xx or no response; waits longer where Retry-After says so"},
			{"reward_key_env", "text", "", "", "http: the environment variable that holds the key"},
			{"reward_model_path", "text", "", "", "reward_model: the folder of a sequence classifier"},
			{"reward_template", "text", "", "", "reward_model: a template instead of its chat template"},
			{"reward_max_length", "integer", "4096", "", "reward_model: tokens of question and answer"},
			{"reward_model_backend", "text", "", "", "upstream's: api is read as http"},
			{"reward_backend_params", "map", "", "", "upstream's: api_url, model_name and api_key (the name of a variable) under api"},
			{"reward_prompt_with_ref", "text", "", "", "mode upstream: the reward model's prompt"},
			{"reward_prompt_without_ref", "text", "", "", "likewise"},
		}),
		Mode:  "4 answers of the model in `policy_model_path` at temperature 0.7, raw gradients of the training rows, no fallback, TRAK's projection.",
		Cost:  "LESS's, and `mc_samples` answers to every evaluation row at every selection with a backward pass each; the judge's time.",
		Loses: "Where the model's answers earn no reward yet, the only signal is the references, and where they earn nearly all of it, there is none left. Errors of the judge are not noticed.",
	},
	{
		Name: "loss", Kind: Select, Component: "loss",
		Formula: `
q₁, q₂ = quantiles of the losses
w      = focus_weight in the band of focus (low ≤ q₁ < medium ≤ q₂ < high), 1 elsewhere
p      ∝ w^(1/temperature),   drawn with seed 42 + step`,
		Params: append([]Parameter{
			{"focus", "text", "high", "", "the band: high, medium or low"},
			{"focus_weight", "number", "5", "", "how many times more often it is drawn"},
			{"quantiles", "numbers", "[0.33, 0.66]", "", "where the bands end"},
			{"temperature", "number", "1", "", "above 1 the bands are drawn more evenly"},
			{"replacement", "bool", "false", "", "whether a row may be drawn twice"},
			cacheDir(""),
		}, noBatches...),
		Mode:  "A row without a labelled token has weight 1e-12 instead of none.",
		Cost:  oneForward,
		Loses: "High losses are new rows as well as wrong ones: on data with errors `focus: high` finds those (62 % of its picks in the project's trial, 12 % of `low`'s).",
	},
	{
		Name: "delta_loss", Kind: Select, Component: "delta_loss",
		Formula: `
δ = loss at the first selection - loss now, sorted in descending order
x = (update-1)/(updates-1),   window from σ(10(x-½))·(n-wn), wn rows long, not beyond the first δ < 0
weight 1 inside, 0.025 outside, drawn with seed 42 + step; the first selection is random`,
		Params: append([]Parameter{
			{"window_size", "number", "0.2", "", "w: the share of the rows in the window"},
			cacheDir(""),
		}, noBatches...),
		Mode:  "A single update in a Flex epoch is refused, as upstream divides by zero there; a row without a loss has weight 0.025 instead of 0.",
		Cost:  oneForward,
		Loses: "Once the window has passed the rows whose losses decreased it is empty, and all rows are drawn with equal weight. With few updates most of the order is skipped.",
	},
	{
		Name: "near", Kind: Select, Component: "near",
		Formula: `
every query's nearest row, then every query's second nearest, …, without repeats`,
		Params: []Parameter{
			{"indices_path", "text", "", "", "what `dataflex-cli near` wrote: a line of row numbers for every query, nearest first"},
			cacheDir(""),
		},
		Mode:  "The same prefix at every update, and an error where the file has too few rows; faithful continues where the last update stopped.",
		Cost:  "Vectors of pool and evaluation set once (a forward pass), and their exact neighbors; nothing during training.",
		Loses: "Similar texts are not necessarily useful: near-duplicates of the evaluation set crowd out the rest, and what the model already knows is chosen as well.",
	},
	{
		Name: "tsds", Kind: Select, Component: "tsds",
		Formula: `
p = the probabilities of an optimal transport from the evaluation set's vectors to the pool's,
    spread over near-duplicates by a kernel density (dataflex-cli tsds)
faithful: row i is drawn ⌊np_i⌋ or ⌈np_i⌉ times;  upstream: choice without replacement`,
		Params: []Parameter{
			{"probs_path", "text", "", "", "what `dataflex-cli tsds` wrote: one probability for every row"},
			cacheDir(""),
		},
		Mode:  "NumPy's RandomState(run seed).choice without replacement, one stream over all updates; an error where fewer rows than needed have a positive probability.",
		Cost:  "Vectors once, `--max-k` neighbors for every query and `--kde-k` for every row; nothing during training.",
		Loses: "As near, without its duplicates: the choice depends on the similarity of vectors, not on what the model has yet to learn.",
	},
	{
		Name: "cluster_less", Kind: Select, Component: "cluster_less",
		Formula: `
feature of a cluster = mean of its representatives' unit gradients, normalised
score of its rows    = max over the subtasks of mean cos(feature, ∇ℓ(z'))`,
		Params: slices.Concat(gradients("cache/cluster_less", "adam", "", "8192", "4096", "42", ""), []Parameter{
			{"cluster_size", "integer", "64", "", "rows of a cluster, on average"},
			{"num_clusters", "integer", "0", "", "instead of cluster_size; 0: rows / cluster_size"},
			{"samples_per_cluster", "integer", "3", "", "representatives whose gradients are computed"},
			{"clustering_method", "text", "kmeans", "", "or spherical_kmeans, farthest_first, random_projection_lsh, random_partition"},
			{"clustering_max_iter", "integer", "20", "", "of Lloyd's iterations"},
			{"representative_strategy", "text", "random", "", "or nearest, farthest, mixed: by their distance to the cluster's mean"},
			{"lsh_num_bits", "integer", "0", "", "of random_projection_lsh; 0: derived from the number of clusters"},
			{"embedding_model_name_or_path", "text", "", "", "a model for the vectors; the one being trained when left out"},
			{"embedding_layer", "integer", "-1", "", "whose hidden states are averaged; -1 is the last"},
			{"embedding_model_dtype", "text", "auto", "", "of that model; float32 is computed"},
			{"clustering_batch_size", "integer", "8", "", "no effect: batches are limited by tokens"},
			{"assignment_chunk_size", "integer", "4096", "", "no effect: the block size of distances is fixed"},
		}),
		Mode:  "Upstream's LESS inside; ties within a cluster are broken as by torch.topk, where faithful takes the rows nearest to the cluster's mean first.",
		Cost:  "A forward pass over the pool once; a backward pass over `samples_per_cluster` / `cluster_size` of it at every selection.",
		Loses: "All rows of a cluster have the same score: a cluster of mixed rows includes the wrong ones. Small pools gain nothing over less.",
	},
	{
		Name: "icons", Kind: Select, Component: "icons",
		Formula: `
influence of z on task t = max over the subtasks of t of mean cos(∇ℓ(z), ∇ℓ(z'))
vote of t for z          = influence ≥ the (1-p)-quantile over the pool
chosen                   = most votes, then the better ranks, then the lower row`,
		Params: slices.Concat(gradients("cache/icons", "sgd", "adam", "5120", "8192", "0", "42"), []Parameter{
			{"tasks", "text", "auto", "", "how tasks are defined: sizes (task_sizes), column (`subtask`), auto (task_sizes where given, else the data sets of eval_dataset)"},
			{"vote_percent", "number", "0", "", "p in per cent; 0: the share of the pool that the whole run selects"},
			{"task_sizes", "integers", "", "", "rows of each task, consecutive in eval_dataset"},
			{"task_boundaries", "integers", "", "", "upstream's spelling of the same"},
		}),
		Mode:  "Adam's direction, TRAK's projection, p the share of the pool in one window; ties in votes are broken as by torch.topk.",
		Cost:  oneBackward + " One number is stored for every row and task.",
		Loses: "With a single task it is less with coarser scores. Rows that only one task needs get one vote.",
	},
	{
		Name: "coincide", Kind: Select, Component: "coincide",
		Formula: `
vectors of several layers → spherical k-means
share of a cluster ∝ softmax(S/(τD)),  S its similarity to other clusters, D how similar its rows are
inside: the rows that together are most similar to the cluster (least squared MMD, kernel e^(-d²/2))`,
		Params: []Parameter{
			cacheDir("cache/coincide"),
			{"variant", "text", "official", "upstream", "official: the authors' code; upstream: DataFlex's arithmetic"},
			{"num_clusters", "integer", "0", "", "0: one per 13 rows that the run selects, at most 10000"},
			{"temperature", "number", "0.1", "1", "τ: smaller gives larger shares to clusters that are similar to others"},
			{"embedding_model_name_or_path", "text", "", "", "a model for the vectors (also DATAFLEX_COINCIDE_EMBEDDING_MODEL); the one being trained when left out"},
			{"embedding_layers", "integers", "", "", "whose hidden states are used; five spread over the model when left out"},
			{"single_member_density", "number", "1", "", "D of a cluster of one row"},
			{"clustering_max_iter", "integer", "50", "10", "of k-means"},
			{"seed", "integer", "42", "", "of k-means"},
			{"embedding_model_dtype", "text", "auto", "", "of that model; float32 is computed"},
			{"clustering_device", "text", "auto", "", "no effect: the run's device"},
			{"clustering_batch_size", "integer", "0", "", "no effect: batches are limited by tokens"},
			{"clustering_num_workers", "integer", "0", "", "no effect"},
			{"assignment_chunk_size", "integer", "0", "", "no effect"},
			{"density_chunk_size", "integer", "0", "", "no effect"},
		},
		Mode:  "tanh before means, 10 iterations, 10000 clusters, τ 1, kernel e^(-d²), and the same rows at every selection; images are refused, text is accepted.",
		Cost:  "A forward pass over the pool once, k-means, and the inner products inside each cluster; no gradient, no evaluation set.",
		Loses: "It favours neither rare rows nor those that an evaluation needs: on the project's task it was no better than random.",
	},
	{
		Name: "zeroth", Kind: Select, Component: "zeroth",
		Formula: `
d(z)     = (ℓ(θ+εξ; z) - ℓ(θ-εξ; z)) / 2ε,   ξ ~ N(0, I), the same for all rows
score(z) = mean over directions and evaluation rows of d(z) d(z')`,
		Params: []Parameter{
			{"directions", "integer", "8", "1", "random directions ξ: more of them give less noise and take more time"},
			{"eps", "number", "0.001", "", "ε"},
			{"seed", "integer", "42", "", "of the directions"},
			cacheDir(""),
		},
		Mode:  "One direction.",
		Cost:  "Two forward passes over pool and evaluation set for every direction; no gradient is stored, full batches.",
		Loses: "With one direction only its sign matters: 2.4 of 10 picks in the family where chance is 2; 4.9 with 8, 7.2 with 16.",
	},
	{
		Name: "random", Kind: Select, Component: "random",
		Formula: `randperm(n; seed + step)[:k]`,
		Params: []Parameter{
			{"seed", "integer", "42", "", ""},
			{"replacement", "bool", "false", "", "whether a row may be drawn twice"},
			cacheDir(""),
		},
		Cost: "None.", Loses: "It is the baseline of the others, which on a pool of a single kind do not beat it.",
	},
	{
		Name: "select_static", Kind: Select, Component: "static",
		Formula: `windows are consecutive parts of passes over the pool`,
		Params:  []Parameter{{"shuffle", "bool", "true", "", "each pass in its own random order; false: row order"}, cacheDir("")},
		Mode:    "The same; upstream documents such a selector but has none.",
		Cost:    "None.", Loses: "It chooses nothing: it shows the effect of a selecting run's schedule without a choice.",
	},
	{
		Name: "custom", Kind: Select, Component: "custom",
		Formula: `
→ {"step":4,"update":1,"num_samples":16,"rows":[{"index":0,"dataset":"d","row":0},…],"losses":[1.2,null,…]}
← {"indices":[3,1,…],"scores":[0.9,…]}`,
		Params: []Parameter{
			{"command", "texts", "", "", "the program and its arguments; without it rows 0 … n-1 are chosen, as in upstream's example"},
			{"losses", "bool", "false", "", "whether its request includes every row's loss"},
			{"timeout", "number", "600", "", "seconds for one answer"},
			cacheDir(""),
		},
		Cost: "Your program's; with `losses: true` a forward pass over the pool.", Loses: "As your program does.",
	},
}

package recipe

import "slices"

func cacheDir(def string) Parameter {
	return Parameter{"cache_dir", "text", def, "", "the folder of step_N.json, what was chosen at step N, and of selections that may be used again"}
}

// gradients are the parameters of the methods that compare gradients.
func gradients(cache, gradient, upstreamGradient, dim, upstreamDim, seed, upstreamSeed string) []Parameter {
	return []Parameter{
		cacheDir(cache),
		{"gradient_type", "text", gradient, upstreamGradient, "adam: the step that Adam would take with the row's gradient; sgd: the gradient itself"},
		{"projection", "text", "none", "trak", "none compares whole gradients; rademacher, gaussian and sjlt project them, and the run says the error beside the spread of the scores"},
		{"proj_dim", "integer", dim, upstreamDim, "of a projection; not used without one"},
		{"seed", "integer", seed, upstreamSeed, "of the rows of the warm-up, and of a projection"},
		{"subtask_by", "text", "column", "", "what parts of the evaluation set a row is held against one by one: its `subtask` column, dataset, or none"},
		{"eps_inside", "bool", "false", "", "Adam's ε under the root, as in the authors' program"},
		{"save_interval", "integer", "16", "", "no effect: features are saved as they are made"},
	}
}

var noBatches = []Parameter{
	{"score_batch_size", "integer", "1", "", "no effect: batches are by tokens"},
	{"score_num_workers", "integer", "2", "", "no effect: rows are in memory"},
}

const (
	oneBackward = "A forward and a backward pass over every row of the pool and of the evaluation set, at every selection; no gradient is kept, but one mean per subtask in full size."
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
			Parameter{"checkpoints", "texts", "", "", "folders of an earlier run whose scores are added up, in place of the model being trained"},
			Parameter{"checkpoint_weights", "numbers", "", "", "their weights; the mean learning rate of the steps up to each when left out"}),
		Mode:  "Raw moments with β .9/.999, ε outside the root, no bias correction; one mean over the whole evaluation set; TRAK's projection of gradients rounded to float16 to `proj_dim`.",
		Cost:  oneBackward,
		Loses: "A projection's error exceeds the spread of real scores (0.0063 at 4096 dimensions against 0.0019): leave `projection: none`. Rows without a gradient of their own have the momentum's direction under `adam`. Where more rows of the wanted kind teach little, the choice hardly shows in the loss.",
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
			{"top_k", "integer", "50", "", "answers are drawn among so many tokens"},
			{"top_p", "number", "0.95", "1", "and of these among those that make up this probability"},
			{"max_prompt_length", "integer", "4096", "", "tokens; of longer ones the end is kept"},
			{"prompt_template", "text", `Follow the instruction. …`, "", "mode upstream's question, with {instruction} and {input}; faithful asks by the run's template"},
			{"baseline", "text", "none", "", "b: none is 0, leave_one_out the mean reward of the other answers"},
			{"fallback", "text", "reference", "none", "a question whose answers earn nothing stands for itself by its reference (or none)"},
			{"policy_model_path", "text", "", "", "mode upstream's generating model"},
			{"reward", "text", "", "", "who judges: exact_match, contains, numeric, reward_model, command or http"},
			{"reward_command", "texts", "", "", "command: the program and its arguments"},
			{"reward_timeout", "number", "600", "", "seconds: of command for all answers of a selection, of http for one"},
			{"reward_url", "text", "", "", "http: a chat completions endpoint. `check` and `train` see that it answers"},
			{"reward_model", "text", "", "", "http: the model's name there"},
			{"reward_temperature", "number", "0", "", "http"},
			{"reward_prompt", "text", "", "", "http: the question to the judge, with {prompt}, {reference} and {answer}"},
			{"reward_retries", "integer", "5", "", "http: further tries after 429, 5xx or no answer"},
			{"reward_key_env", "text", "", "", "http: the environment variable that holds the key"},
			{"reward_model_path", "text", "", "", "reward_model: the folder of a sequence classifier"},
			{"reward_template", "text", "", "", "reward_model: a template in place of its chat template"},
			{"reward_max_length", "integer", "4096", "", "reward_model: tokens of question and answer"},
			{"reward_model_backend", "text", "", "", "upstream's: api is read as http"},
			{"reward_backend_params", "map", "", "", "upstream's: api_url, model_name and api_key (the name of a variable) under api"},
			{"reward_prompt_with_ref", "text", "", "", "mode upstream: what a reward model is asked"},
			{"reward_prompt_without_ref", "text", "", "", "likewise"},
		}),
		Mode:  "4 answers of the model in `policy_model_path` at temperature 0.7, raw gradients of the training rows, no fallback, TRAK's projection.",
		Cost:  "LESS's, and `mc_samples` answers to every evaluation row at every selection with a backward pass each; the judge's time.",
		Loses: "Where the model's answers earn nothing yet there is no signal but the references, and where they earn nearly all there is none left. A judge that errs is believed.",
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
			{"temperature", "number", "1", "", "above 1 the bands are drawn more alike"},
			{"replacement", "bool", "false", "", "whether a row may be drawn twice"},
			cacheDir(""),
		}, noBatches...),
		Mode:  "A row without a labelled token has weight 1e-12 instead of none.",
		Cost:  oneForward,
		Loses: "High losses are new rows and wrong ones alike: on data with errors `focus: high` finds those (62 % of its picks in the project's trial, 12 % of `low`'s).",
	},
	{
		Name: "delta_loss", Kind: Select, Component: "delta_loss",
		Formula: `
δ = loss at the first selection - loss now, sorted in descending order
x = (update-1)/(updates-1),   window from σ(10(x-½))·(n-wn), wn rows long, not beyond the first δ < 0
weight 1 inside, 0.025 outside, drawn with seed 42 + step; the first selection is random`,
		Params: append([]Parameter{
			{"window_size", "number", "0.2", "", "w: the share of the rows that the window holds"},
			cacheDir(""),
		}, noBatches...),
		Mode:  "A single update in a Flex epoch is refused, as upstream divides by zero there; a row without a loss weighs 0.025 instead of nothing.",
		Cost:  oneForward,
		Loses: "Once the window has passed the rows whose losses fell it is empty, and all rows are drawn alike. With few updates most of the way is skipped.",
	},
	{
		Name: "near", Kind: Select, Component: "near",
		Formula: `
every query's nearest row, then every query's second nearest, …, without repeats`,
		Params: []Parameter{
			{"indices_path", "text", "", "", "what `dataflex-cli near` wrote: a line of row numbers for every query, nearest first"},
			cacheDir(""),
		},
		Mode:  "The same prefix at every update, and an error where the file holds too few rows; faithful goes on where the last update stopped.",
		Cost:  "Vectors of pool and evaluation set once (a forward pass), and their exact neighbors; nothing while it trains.",
		Loses: "Likeness of texts is not use: near-duplicates of the evaluation set crowd out the rest, and what the model knows is chosen all the same.",
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
		Mode:  "NumPy's RandomState(run seed).choice without replacement, one stream over all updates; an error where fewer rows than wanted have a probability.",
		Cost:  "Vectors once, `--max-k` neighbors for every query and `--kde-k` for every row; nothing while it trains.",
		Loses: "As near, without its duplicates: the vectors' likeness decides, not what the model has yet to learn.",
	},
	{
		Name: "cluster_less", Kind: Select, Component: "cluster_less",
		Formula: `
feature of a cluster = mean of its representatives' unit gradients, made unit
score of its rows    = max over the subtasks of mean cos(feature, ∇ℓ(z'))`,
		Params: slices.Concat(gradients("cache/cluster_less", "adam", "", "8192", "4096", "42", ""), []Parameter{
			{"cluster_size", "integer", "64", "", "rows of a cluster, on average"},
			{"num_clusters", "integer", "0", "", "instead of cluster_size; 0: rows / cluster_size"},
			{"samples_per_cluster", "integer", "3", "", "rows whose gradients stand for it"},
			{"clustering_method", "text", "kmeans", "", "or spherical_kmeans, farthest_first, random_projection_lsh, random_partition"},
			{"clustering_max_iter", "integer", "20", "", "of Lloyd's iterations"},
			{"representative_strategy", "text", "random", "", "or nearest, farthest, mixed: by their distance to the cluster's mean"},
			{"lsh_num_bits", "integer", "0", "", "of random_projection_lsh; 0: as the number of clusters wants"},
			{"embedding_model_name_or_path", "text", "", "", "a model for the vectors; the one being trained when left out"},
			{"embedding_layer", "integer", "-1", "", "whose hidden states are averaged; -1 is the last"},
			{"embedding_model_dtype", "text", "auto", "", "of that model; float32 is computed"},
			{"clustering_batch_size", "integer", "8", "", "no effect: batches are by tokens"},
			{"assignment_chunk_size", "integer", "4096", "", "no effect: distances are computed in blocks of our own"},
		}),
		Mode:  "Upstream's LESS inside; among the equal scores of a cluster what torch.topk takes, where faithful takes the rows nearest to the cluster's mean first.",
		Cost:  "A forward pass over the pool once; a backward pass over `samples_per_cluster` / `cluster_size` of it at every selection.",
		Loses: "All rows of a cluster stand or fall together: a cluster of mixed rows brings the wrong ones along. Small pools gain nothing over less.",
	},
	{
		Name: "icons", Kind: Select, Component: "icons",
		Formula: `
influence of z on task t = max over the subtasks of t of mean cos(∇ℓ(z), ∇ℓ(z'))
vote of t for z          = influence ≥ the (1-p)-quantile over the pool
chosen                   = most votes, then the better ranks, then the lower row`,
		Params: slices.Concat(gradients("cache/icons", "sgd", "adam", "5120", "8192", "0", "42"), []Parameter{
			{"tasks", "text", "auto", "", "what a task is: sizes (task_sizes), column (`subtask`), auto (task_sizes where given, else the data sets of eval_dataset)"},
			{"vote_percent", "number", "0", "", "p in per cent; 0: the share of the pool that the whole run selects"},
			{"task_sizes", "integers", "", "", "rows of each task, consecutive in eval_dataset"},
			{"task_boundaries", "integers", "", "", "upstream's spelling of the same"},
		}),
		Mode:  "Adam's direction, TRAK's projection, p the share of the pool in one window; among equal votes what torch.topk takes.",
		Cost:  oneBackward + " One number is kept for every row and task.",
		Loses: "With a single task it is less with coarser scores. Rows that one task needs and no other get one vote.",
	},
	{
		Name: "coincide", Kind: Select, Component: "coincide",
		Formula: `
vectors of several layers → spherical k-means
share of a cluster ∝ softmax(S/(τD)),  S its likeness to other clusters, D how alike its rows are
inside: the rows that together are most like the cluster (least squared MMD, kernel e^(-d²/2))`,
		Params: []Parameter{
			cacheDir("cache/coincide"),
			{"variant", "text", "official", "upstream", "official: the authors' code; upstream: DataFlex's arithmetic"},
			{"num_clusters", "integer", "0", "", "0: one to 13 rows that the run selects, at most 10000"},
			{"temperature", "number", "0.1", "1", "τ: smaller, larger shares for clusters like others"},
			{"embedding_model_name_or_path", "text", "", "", "a model for the vectors (also DATAFLEX_COINCIDE_EMBEDDING_MODEL); the one being trained when left out"},
			{"embedding_layers", "integers", "", "", "whose hidden states are used; five spread over the model when left out"},
			{"single_member_density", "number", "1", "", "D of a cluster of one row"},
			{"clustering_max_iter", "integer", "50", "10", "of k-means"},
			{"seed", "integer", "42", "", "of k-means"},
			{"embedding_model_dtype", "text", "auto", "", "of that model; float32 is computed"},
			{"clustering_device", "text", "auto", "", "no effect: the run's device"},
			{"clustering_batch_size", "integer", "0", "", "no effect: batches are by tokens"},
			{"clustering_num_workers", "integer", "0", "", "no effect"},
			{"assignment_chunk_size", "integer", "0", "", "no effect"},
			{"density_chunk_size", "integer", "0", "", "no effect"},
		},
		Mode:  "tanh before means, 10 iterations, 10000 clusters, τ 1, kernel e^(-d²), and the same rows at every selection; images are refused, text is taken.",
		Cost:  "A forward pass over the pool once, k-means, and the inner products inside each cluster; no gradient, no evaluation set.",
		Loses: "Nothing in it favours rare rows or what an evaluation wants: on the project's task it chose as random does.",
	},
	{
		Name: "zeroth", Kind: Select, Component: "zeroth",
		Formula: `
d(z)     = (ℓ(θ+εξ; z) - ℓ(θ-εξ; z)) / 2ε,   ξ ~ N(0, I), the same for all rows
score(z) = mean over directions and evaluation rows of d(z) d(z')`,
		Params: []Parameter{
			{"directions", "integer", "8", "1", "random directions ξ: more of them, less noise, more time"},
			{"eps", "number", "0.001", "", "ε"},
			{"seed", "integer", "42", "", "of the directions"},
			cacheDir(""),
		},
		Mode:  "One direction.",
		Cost:  "Two forward passes over pool and evaluation set for every direction; no gradient is kept, full batches.",
		Loses: "With one direction its sign alone decides: 2.4 of 10 picks in the family where chance is 2; 4.9 with 8, 7.2 with 16.",
	},
	{
		Name: "random", Kind: Select, Component: "random",
		Formula: `randperm(n; seed + step)[:k]`,
		Params: []Parameter{
			{"seed", "integer", "42", "", ""},
			{"replacement", "bool", "false", "", "whether a row may be drawn twice"},
			cacheDir(""),
		},
		Cost: "None.", Loses: "It is what the others have to beat, and on a pool that is all of one kind they do not.",
	},
	{
		Name: "select_static", Kind: Select, Component: "static",
		Formula: `windows are consecutive pieces of passes over the pool`,
		Params:  []Parameter{{"shuffle", "bool", "true", "", "each pass in an order of its own; false: row order"}, cacheDir("")},
		Mode:    "The same; upstream names such a selector and has none.",
		Cost:    "None.", Loses: "It chooses nothing: it shows what the schedule of a selecting run does without a choice.",
	},
	{
		Name: "custom", Kind: Select, Component: "custom",
		Formula: `
→ {"step":4,"update":1,"num_samples":16,"rows":[{"index":0,"dataset":"d","row":0},…],"losses":[1.2,null,…]}
← {"indices":[3,1,…],"scores":[0.9,…]}`,
		Params: []Parameter{
			{"command", "texts", "", "", "the program and its arguments; without it rows 0 … n-1 are taken, as upstream's example does"},
			{"losses", "bool", "false", "", "whether it is told every row's loss"},
			{"timeout", "number", "600", "", "seconds for one answer"},
			cacheDir(""),
		},
		Cost: "Your program's; with `losses: true` a forward pass over the pool.", Loses: "As your program does.",
	},
}

package recipe

const (
	less    = "Xia et al., LESS: Selecting Influential Data for Targeted Instruction Tuning, ICML 2024, arXiv:2402.04333"
	doremi  = "Xie et al., DoReMi: Optimizing Data Mixtures Speeds Up Language Model Pretraining, NeurIPS 2023, arXiv:2305.10429"
	order   = "Demystifying Data Organization for Enhanced LLM Training, ACL 2026, arXiv:2605.30334"
	program = "Your program gets one JSON line on its standard input and answers with one on its standard output."
)

func cache(name string) Line {
	return Line{"cache_dir", "{saves}/cache/" + name, "step_N.json: the choice at step N"}
}

// stages are those of DataFlex's pipeline "hierarchical", over fewer steps.
const stages = `
        - {family: selector, component: loss, keep_ratio: 0.5, warmup_step: 4, every: 8}
        - {family: mixer, component: odm, every: 4}
        - {family: reorder, component: saw, every: 4}
        - {family: weighter, component: loss, warmup_step: 4}`

// table has static training first, then the train types that make decisions, then what follows
// training.
var table = []Recipe{
	{
		Name: "lora", Kind: Plain, Does: "Plain fine-tuning of LoRA adapters, as in LLaMA-Factory.",
		Paper: "Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, arXiv:2106.09685",
	},
	{
		Name: "full", Kind: Plain, Does: "Plain fine-tuning of all weights.",
		Keys: []Line{{"finetuning_type", "full", ""}, {"lora_target", "", ""}, {"lora_rank", "", ""}},
	},
	{
		Name: "freeze", Kind: Plain, Does: "Plain fine-tuning of the last layers; the others are frozen.",
		Keys: []Line{
			{"finetuning_type", "freeze", ""},
			{"lora_target", "", ""},
			{"lora_rank", "", ""},
			{"freeze_trainable_layers", "1", "the last layer; a negative number counts from the first"},
		},
	},
	{
		Name: "pretrain", Kind: Plain, Does: "Continues pre-training: every token of plain text is trained on.",
		Keys: []Line{
			{"stage", "pt", ""},
			{"finetuning_type", "full", ""},
			{"lora_target", "", ""},
			{"lora_rank", "", ""},
			{"packing", "true", "texts are concatenated and cut into blocks of cutoff_len"},
		},
	},

	{
		Name: "less", Kind: Select, Does: "LESS trains on the rows whose gradients point in the direction of the evaluation set's.", Paper: less,
		Component: "less", Eval: true,
		Params: []Line{
			cache("less"),
			{"gradient_type", "adam", "the direction of the optimiser's step (default); sgd: the plain gradient"},
			{"subtask_by", "column", "a `subtask` column of eval_dataset names the part a row belongs to (default); dataset, none"},
			{"seed", "123", "of the rows of the warm-up, and of a projection"},
		},
	},
	{
		Name: "nice", Kind: Select, Does: "NICE lets the model answer the evaluation set's questions, judges the answers, and chooses rows that raise the reward.",
		Paper:     "Wang et al., NICE: Data Selection for Instruction Tuning in LLMs with Non-differentiable Evaluation Metric, ICML 2025",
		Component: "nice", Eval: true,
		Params: []Line{
			cache("nice"),
			{"reward", "contains", "the answer contains the reference; exact_match, numeric, reward_model, command or http"},
			{"mc_samples", "4", "answers to a question (default 20)"},
			{"max_new_tokens", "16", "of an answer (default 512)"},
			{"generation_temperature", "1.2", "the default"},
			{"gradient_type", "adam", "as for less"},
		},
	},
	{
		Name: "loss", Kind: Select, Does: "Draws the rows of one band of losses, the high ones, more often than the others.",
		Component: "loss",
		Params: []Line{
			cache("loss"),
			{"focus", "high", "the band: high (default), medium or low"},
			{"focus_weight", "5.0", "how many times more often it is drawn (default 5)"},
			{"quantiles", "[0.33, 0.66]", "where the bands end (the default)"},
			{"temperature", "1.0", "above 1 the bands are drawn more evenly (default 1)"},
			{"replacement", "false", "whether a row may be drawn twice (default false)"},
		},
	},
	{
		Name: "delta_loss", Kind: Select, Does: "Draws rows by how much their loss has decreased: first those learned fastest, in the end the others.",
		Component: "delta_loss",
		Params: []Line{
			cache("delta_loss"),
			{"window_size", "0.2", "the share of the rows in the sliding window (default 0.2)"},
		},
	},
	{
		Name: "near", Kind: Select, Does: "Trains on the rows whose texts are nearest to those of the evaluation set.",
		Component: "near", Eval: true,
		Remarks: []string{"The first three commands make the file of neighbors; run them again when the rows change."},
		Before: []string{
			"{cli} embed {model} {rows} {saves}/near/rows.npy",
			"{cli} embed {model} {eval} {saves}/near/eval.npy",
			"{cli} near {saves}/near/rows.npy {saves}/near/eval.npy {here}near.npy --neighbours 50",
		},
		Params: []Line{cache("near"), {"indices_path", "{here}near.npy", "what `{cli} near` wrote"}},
	},
	{
		Name: "tsds", Kind: Select, Does: "TSDS draws rows so that their distribution matches that of the evaluation set's texts, without near-duplicates.",
		Paper:     "Liu, Karbasi, Rekatsinas, TSDS: Data Selection for Task-Specific Model Finetuning, NeurIPS 2024, arXiv:2410.11303",
		Component: "tsds", Eval: true,
		Remarks: []string{"The first three commands make the file of probabilities; run them again when the rows change."},
		Before: []string{
			"{cli} embed {model} {rows} {saves}/tsds/rows.npy",
			"{cli} embed {model} {eval} {saves}/tsds/eval.npy",
			"{cli} tsds {saves}/tsds/rows.npy {saves}/tsds/eval.npy {here}tsds.npy --max-k 100 --kde-k 50",
		},
		Params: []Line{cache("tsds"), {"probs_path", "{here}tsds.npy", "what `{cli} tsds` wrote"}},
	},
	{
		Name: "cluster_less", Kind: Select, Does: "LESS with the gradients of a few rows of each cluster: cheaper on many rows, and coarser.", Paper: less,
		Component: "cluster_less", Eval: true,
		Params: []Line{
			cache("cluster_less"),
			{"cluster_size", "16", "rows of a cluster, on average (default 64)"},
			{"samples_per_cluster", "3", "representatives whose gradients are computed (default 3)"},
			{"clustering_method", "kmeans", "(the default) or spherical_kmeans, farthest_first, random_projection_lsh, random_partition"},
			{"representative_strategy", "random", "(the default) or nearest, farthest, mixed: by their distance to the cluster's mean"},
			{"gradient_type", "adam", "as for less"},
			{"seed", "42", ""},
		},
	},
	{
		Name: "icons", Kind: Select, Does: "ICONS lets every task of the evaluation set vote for rows; every data set of eval_dataset is a task.",
		Paper:     "Wu et al., ICONS: Influence Consensus for Vision-Language Data Selection, 2024, arXiv:2501.00654",
		Component: "icons", Eval: true,
		Params: []Line{
			cache("icons"),
			{"vote_percent", "20", "of the pool, for which each task votes (default: what the whole run selects)"},
			{"gradient_type", "sgd", "the gradient itself (the default), or adam: the step Adam would take with it"},
			{"seed", "42", "of the rows of the warm-up, and of a projection"},
		},
	},
	{
		Name: "coincide", Kind: Select, Does: "COINCIDE clusters rows by vectors of several layers and takes from each cluster the rows that together are most similar to it; it needs no evaluation set.",
		Paper:     "Lee et al., Concept-skill Transferability-based Data Selection for Large Vision-Language Models, EMNLP 2024, arXiv:2406.10995",
		Component: "coincide",
		Params: []Line{
			cache("coincide"),
			{"num_clusters", "8", "(default: one per 13 rows that the run selects)"},
			{"temperature", "0.1", "smaller: clusters that are similar to others, and diverse, have larger shares (default 0.1)"},
			{"seed", "42", ""},
		},
	},
	{
		Name: "zeroth", Kind: Select, Does: "Scores rows as influence functions do, from forward passes only: little memory, much noise.",
		Component: "zeroth", Eval: true,
		Params: []Line{
			cache("zeroth"),
			{"directions", "4", "random directions; more of them give less noise and take more time (default 8)"},
			{"eps", "1.0e-3", "the step along them (the default)"},
			{"seed", "42", ""},
		},
	},
	{
		Name: "random", Kind: Select, Does: "Trains on random rows: the baseline of every other selector.",
		Component: "random",
		Params:    []Line{cache("random"), {"seed", "42", ""}, {"replacement", "false", "whether a row may be drawn twice (default false)"}},
	},
	{
		Name: "select_static", Kind: Select, Does: "Chooses nothing: windows are consecutive parts of passes over the data.",
		Component: "static",
		Params:    []Line{cache("static"), {"shuffle", "true", "each pass in its own random order (default)"}},
	},
	{
		Name: "custom", Kind: Select, Does: "Asks your program which rows to train on.",
		Component: "custom", Remarks: []string{program},
		Params: []Line{
			cache("custom"),
			{"command", "[sh, {here}pick.sh]", "the program and its arguments"},
			{"losses", "true", "its request includes every row's loss (default false)"},
			{"timeout", "600", "seconds for one answer (the default)"},
		},
		Files: []string{"pick.sh"},
	},

	{
		Name: "odm", Kind: Mix, Does: "ODM, a bandit, draws more from the data sets that still have high loss.",
		Paper:     "Albalak et al., Efficient Online Data Mixing For Language Model Pre-Training, 2023, arXiv:2312.02406",
		Component: "odm",
		Params: []Line{
			{"alpha", "0.9", "decay of the reward's moving average (default 0.9)"},
			{"warmup_steps", "2", "before it explores less (default 2000)"},
			{"variant", "paper", "or official: as the authors' program"},
		},
	},
	{
		Name: "doremi_1", Kind: Mix, Does: "DoReMi, step 1 of 3: the reference model, on equal shares of the data sets.", Paper: doremi,
		Keys: []Line{{"components_cfg_file", "", ""}, {"component_name", "", ""}, {"warmup_step", "", ""}, {"update_step", "", ""}, {"update_times", "", ""}, {"static_mix", "true", "the shares do not change"}},
	},
	{
		Name: "doremi_2", Kind: Mix, Does: "DoReMi, step 2 of 3: finds the shares that help most where the model is worse than the reference.", Paper: doremi,
		Component: "doremi",
		Params: []Line{
			{"reference_model_path", "{saves}/doremi_1", "the result of step 1"},
			{"reweight_eta", "1.0", "the step size of the shares (default 1)"},
			{"reweight_eps", "1.0e-3", "the share that is distributed evenly (the default)"},
			{"normalizer", "paper", "or official: as the authors' program"},
		},
		After: []string{"cat {saves}/doremi_2/doremi_step3_proportions.txt"},
	},
	{
		Name: "doremi_3", Kind: Mix, Does: "DoReMi, step 3 of 3: the model itself, on the shares that step 2 found.", Paper: doremi,
		Remarks: []string{"Put the shares of doremi_step3_proportions.txt into init_mixture_proportions first."},
		Keys: []Line{
			{"components_cfg_file", "", ""},
			{"component_name", "", ""},
			{"warmup_step", "", ""},
			{"update_step", "", ""},
			{"update_times", "", ""},
			{"static_mix", "true", "the shares do not change"},
			{"mixture_sample_rule", "mixture", "in the shares of init_mixture_proportions"},
			{"init_mixture_proportions", "{shares}", "in the order of dataset"},
		},
	},
	{
		Name: "dynamic_moe", Kind: Mix, Does: "Draws more from the data sets that use a mixture of experts differently from the others.",
		Paper:     "Zhu et al., Dynamic Data Mixing Maximizes Instruction Tuning for Mixture-of-Experts, 2024, arXiv:2406.11256",
		Component: "dynamic_moe", Remarks: []string{"The model must be a mixture of experts: mixtral, qwen2_moe, qwen3_moe."},
		Params: []Line{
			{"eta", "10.0", "the step size of the shares (default 10)"},
			{"c", "0.05", "the share that is distributed evenly (default 0.05)"},
			{"eval_samples", "10", "rows of each data set that are set aside for this (default 1000)"},
			{"collect_steps", "2", "batches evaluated (default 10)"},
			{"eval_batch_size", "4", "rows of such a batch (default 32)"},
		},
	},
	{
		Name: "mix_static", Kind: Mix, Does: "Keeps the given shares: the baseline of every other mixer.",
		Component: "static",
		Params:    []Line{{"", "", "proportions: [0.5, 0.3, 0.2]  in the order of dataset; equal shares when left out"}},
	},
	{
		Name: "mix_random", Kind: Mix, Does: "Draws new random shares at every update.",
		Component: "random",
		Params:    []Line{{"seed", "42", ""}},
	},

	{
		Name: "weight_loss", Kind: Weight, Does: "Weighs rows by their loss: full weight from the middle up, less for what is already learned.",
		Paper:     "Sow et al., Dynamic Loss-Based Sample Reweighting for Improved Large Language Model Pretraining, ICLR 2025",
		Component: "loss",
		Params: []Line{
			{"strategy", "linupper", "or uniform, quadratic (the middle), extremes (both ends)"},
			{"delta", "1.0", "(the default)"},
			{"r", "1.0", "how uniform the weights are in the end (default 1)"},
			{"initial_r", "5.0", "and at the start: close to uniform (default r)"},
		},
	},
	{
		Name: "weight_adapt", Kind: Weight, Does: "ADAPT weighs rows by their similarity to those of the evaluation set.",
		Paper:     "ADAPT, Rethinking Data Curation in LLM Training: Online Reweighting Offers Better Generalization, ICLR 2026",
		Component: "adapt", Eval: true,
		Params: []Line{
			{"tau", "1.0", "smaller: similarity has more influence (default 1)"},
			{"refresh_interval", "10", "steps after which the evaluation set is evaluated again (default 50)"},
		},
	},
	{
		Name: "weight_joint_update_aware", Kind: Weight, Does: "Weighs the rows of a step jointly: rows that point towards the evaluation set, in diverse directions, get more weight.",
		Component: "joint_update_aware", Eval: true,
		Params: []Line{
			{"beta", "0.1", "larger: rows that are similar to others of the step get less weight (default 0.1)"},
			{"tau", "0.05", "smaller: the weight is concentrated on fewer rows (default 0.05)"},
			{"target_update_step", "10", "steps after which the evaluation set is evaluated again (default 50)"},
		},
	},
	{
		Name: "weight_custom", Kind: Weight, Does: "Asks your program for the weight of each row.",
		Component: "custom", Remarks: []string{program},
		Params: []Line{
			{"strategy", "labels", "a word passed to the program"},
			{"command", "[sh, {here}weigh.sh]", "the program and its arguments"},
			{"timeout", "600", "seconds for one answer (the default)"},
		},
		Files: []string{"weigh.sh"},
	},

	{
		Name: "reorder_folding", Kind: Order, Does: "Trains on every row in an order by score, here from easy to hard several times; the scores are computed once.",
		Paper: order, Component: "folding",
		Params: []Line{
			{"kind", "static", "the scores do not change (the default)"},
			{"pattern", "folding", "shuffle, sorting (default), folding, zigzag, stair, saw or segment"},
			{"pattern_params", "{layers: 3}", "how many times (default 5)"},
			{"polarity", "higher_later", "or higher_earlier"},
			{"score_source", "model_loss", "the loss before training; precomputed (default) and cached_selection: existing scores"},
			{"", "", "score_source: precomputed reads scores from a column of the rows, or from a file:"},
			{"", "", "score_params: {score_field: score}, or {score_path: scores.npy}"},
			{"window_size", "0", "rows within which the order is shuffled; 0: none (the default)"},
			{"seed", "42", "of all that is shuffled"},
		},
	},
	{
		Name: "reorder_saw", Kind: Order, Does: "Trains on every row in an order by its loss, which is updated as the model learns; at the boundaries of the sections easy and hard rows are mixed.",
		Paper: order, Component: "saw",
		Params: []Line{
			{"kind", "dynamic", "the scores change"},
			{"pattern", "saw", "as for folding"},
			{"pattern_params", "{num_sections: 3, folding_ratio: 0.075, layers: 2}", ""},
			{"polarity", "higher_later", "easy rows come first (the default)"},
			{"reorder_every", "1", "windows of update_step steps after which rows are scored again (default 1)"},
			{"score_params", "{max_samples: 20000}", "the maximum number of rows scored; the others keep their last score"},
			{"seed", "42", "of the rows of the warm-up"},
		},
	},

	{
		Name: "pipeline", Kind: Lego, Does: "Combines decisions: a selector narrows the pool, a mixer decides the shares of the data sets, a reorder orders the rows, a weighter weighs them.",
		Component: "hierarchical",
		Params: []Line{
			{"cache_dir", "{saves}/cache/pipeline", "of the selector, and of the plans"},
			{"save_plans", "true", "scoreboard_step_N.json: the rows of every window and their losses (default false)"},
			{"", "", "Each stage is a component of this file. warmup_step: when it begins (default 0); every: steps for which its decision holds"},
			{"", "", "(default 1); enabled: false leaves it out. A selector narrows the pool (mode: filter, keep_ratio) or chooses the window (mode: draw)."},
			{"stages", stages, ""},
		},
	},

	{
		Name: "export", Kind: Export, Does: "Merges the adapters of lora.yaml into the model and writes the result.",
		Needs: "lora",
		Keys: []Line{
			{"adapter_name_or_path", "{saves}/lora", "the result of training"},
			{"export_dir", "{saves}/export", ""},
			{"export_size", "5", "GB of a file of weights"},
		},
	},
	{
		Name: "eval", Kind: Eval, Does: "Measures the perplexity of a model with the adapters of lora.yaml; without adapter_name_or_path, of the model itself.",
		Needs: "lora",
		Keys:  []Line{{"adapter_name_or_path", "{saves}/lora", "the result of training"}},
	},
}

// Programs are the files that custom components call.
var Programs = map[string]string{
	"pick.sh": `#!/bin/sh
# An example of a selector: rows in the order of their losses, the easiest first, continuing
# with every update. Any language will do: one JSON line comes in, one goes out.
while read -r line; do
	n=$(printf '%s' "$line" | sed 's/.*"num_samples":\([0-9]*\).*/\1/')
	update=$(printf '%s' "$line" | sed 's/.*"update":\([0-9]*\).*/\1/')
	picked=$(printf '%s' "$line" | sed 's/.*"losses":\[\([^]]*\)\].*/\1/' | tr ',' '\n' |
		awk '$1 != "null" { print $1, NR - 1 }' | sort -g | cut -d ' ' -f 2 |
		awk -v n="$n" -v u="$update" '{ row[NR - 1] = $1 } END { for (i = 0; i < n; i++) print row[((u - 1) * n + i) % NR] }' | paste -s -d , -)
	printf '{"indices":[%s]}\n' "$picked"
done
`,
	"weigh.sh": `#!/bin/sh
# An example of a weighter: a row's weight is the number of its labelled tokens.
while read -r line; do
	weights=$(printf '%s' "$line" | tr '{' '\n' | sed -n 's/.*"labels":\([0-9]*\).*/\1/p' | paste -s -d , -)
	printf '{"weights":[%s]}\n' "$weights"
done
`,
}

package main

import (
	"context"
	"strings"
)

// experiment is a question that is answered for several methods with every seed.
type experiment struct {
	name   string
	run    func(context.Context, *lab, *trial) error
	claims []claim
	draw   func(path string, trials []*trial) error
}

// enough is the share of rows of the evaluation's family that a selector must reach, where it
// is a sixth of the pool; twice is the same for methods that estimate.
const (
	enough = 0.90
	base   = 1. / 6
	twice  = 2 * base
)

var experiments = []experiment{
	{"selection", selectorTrial, selectionClaims(), drawSelection},
	{"faint", faintTrial, faintClaims(), drawFaint},
	{"concepts", conceptTrial, conceptClaims(), drawConcepts},
	{"nice", niceTrial, niceClaims(), drawNice},
	{"bands", bandTrial, []claim{
		share("loss", "focus: low", "picks in the lowest third", "loss low", promised, ""),
		share("loss", "focus: medium", "picks in the middle third", "loss medium", promised, ""),
		share("loss", "focus: high", "picks in the highest third", "loss high", promised, ""),
		lower("loss", "focus: low", "picks that are new or wrong", "loss low hard", "loss high hard", "focus: high", "").percentage(),
		share("delta_loss", "window_size 0.2", "picks in the window", "delta_loss inside", promisedWindow,
			"once the window has passed the rows whose losses fell it is empty, as DataFlex clips it, and all rows are alike"),
		lower("delta_loss", "window_size 0.2", "mean place of the picks, 2nd selection", "delta_loss second", "delta_loss third", "3rd selection", "").percentage(),
	}, drawBands},
	{"mixture", mixtureTrial, []claim{
		lower("doremi", "η 1, steps 1 to 3", "worst perplexity of 4 domains", "doremi worst", "uniform worst", "uniform", ""),
		lower("doremi", "η 1, steps 1 to 3", "mean perplexity", "doremi mean", "uniform mean", "uniform", ""),
		lower("odm", "variant paper", "worst perplexity of 4 domains", "odm worst", "uniform worst", "uniform", ""),
		lower("odm", "variant paper", "mean perplexity", "odm mean", "uniform mean", "uniform", ""),
	}, drawMixture},
	{"experts", expertTrial, []claim{
		share("dynamic_moe", "η 10", "updates in which the farthest domain gains most", "moe follows", 1, ""),
		lower("dynamic_moe", "η 10", "larger weight of two like domains", "moe twin", "moe odd", "the odd domain", ""),
	}, drawExperts},
	{"orders", orderTrial, orderClaims(), drawOrders},
	{"pipelines", pipelineTrial, pipelineClaims(), drawPipelines},
	{"refusals", refusalTrial, refusalClaims(), drawRefusals},
	{"swaps", swapTrial, swapClaims(), drawSwaps},
}

// A third of the rows with weight 5 and two thirds with 1 give 71 %; three standard deviations
// of 96 picks are 14 %. A window of a fifth with weight 1 against 0.025 gives 91 % where it is
// complete, and 15 % of 32 picks.
const (
	promised       = 0.57
	promisedWindow = 0.75
)

func selectionClaims() []claim {
	out := []claim{{method: "random", setting: "–", what: "rows of the family", key: "random share", percent: true, open: true}}
	for _, m := range []struct {
		method, setting string
		least           float64
	}{
		{"less", "Adam, exact", enough},
		{"near", "mean pooling, the same model", enough},
		{"tsds", "the paper's values", enough},
		{"cluster_less", "clusters of 16", enough},
		{"zeroth", "8 directions", twice},
	} {
		out = append(out, family(m.method, m.setting, m.method, m.least, ""), lower(m.method, m.setting, "eval loss", m.method+" loss", "random loss", "random", ""))
	}
	one := family("zeroth", "1 direction", "zeroth-1", twice, "one number of every gradient is known; its sign decides")
	one.open = true
	again := family("less", "Adam, a selection every 4 steps", "less-often", enough,
		"by the paper's Γ a row without a gradient has the momentum as its direction, which by then is the family's; sgd knows no momentum")
	again.open = true
	return append(out, one, again, family("less", "sgd, a selection every 4 steps", "less-often-sgd", enough, ""))
}

// faintClaims: exact cosines preserve what the projection loses where they differ as little as
// a real model's, whose scores have a standard deviation of 0.002.
func faintClaims() []claim {
	const family = "a family that the model knows well"
	number := func(what, key, why string) claim {
		c := share("less", "Adam, "+what, "of the scores", key, 0, why)
		c.percent, c.open = false, true
		return c
	}
	return []claim{
		share("less", "Adam, exact", "rows of "+family+", first 16 picks", "exact first", enough, ""),
		lower("less", "Adam, exact", "rows of others than "+family+", 64 picks", "exact missed", "projected missed", "rademacher 4096", "").percentage(),
		number("exact: spread", "exact spread", ""),
		number("rademacher 4096: expected error", "projected error", "it exceeds half of the spread, and the run warns"),
	}
}

func niceClaims() []claim {
	const setting = "20 answers, reward by a program; family " + niceTarget
	little := func(c claim) claim {
		c.setting, c.open = strings.Replace(c.setting, niceTarget, niceLittle, 1), true
		return c
	}
	return []claim{
		family("nice", setting, niceTarget+" nice", twice, ""),
		lower("nice", setting, "eval loss", niceTarget+" nice loss", niceTarget+" random loss", "random", ""),
		little(family("nice", setting, niceLittle+" nice", twice, "its answers already earn more than half of the reward (seed 1)")),
		little(lower("nice", setting, "eval loss", niceLittle+" nice loss", niceLittle+" random loss", "random", "")),
		little(lower("less", "for comparison; family "+niceTarget, "eval loss", niceLittle+" less loss", niceLittle+" random loss", "random", "more rows of this family teach little")),
	}
}

func refusalClaims() []claim {
	lose := func(strategy, why string) claim {
		c := lower("loss", strategy, "loss on clean rows, 30 % refusals", "refusals "+strategy, "refusals unweighted", "unweighted", why)
		c.open = true
		return c
	}
	all := lower("adapt", "τ 1, anchors of the family", "loss on clean rows of all families, 30 % refusals", "refusals adapt", "refusals unweighted", "unweighted",
		"rows unlike the anchors weigh less, clean ones too")
	all.open = true
	return []claim{
		lower("loss", "linupper, r 1", "loss on clean rows, 30 % refusals", "refusals linupper", "refusals unweighted", "unweighted", ""),
		lose("quadratic", ""),
		lose("extremes", "it favours both ends, refusals among them"),
		lower("adapt", "τ 1, anchors of the family", "loss on clean rows of the family, 30 % refusals", "refusals adapt family", "refusals unweighted family", "unweighted", ""),
		lower("joint_update_aware", "β 0.1, τ 0.05, aligned with the family", "loss on clean rows of the family, 30 % refusals", "refusals joint_update_aware family", "refusals unweighted family", "unweighted", ""),
		all,
	}
}

func swapClaims() []claim {
	var out []claim
	for _, m := range [][4]string{
		{"loss", "linupper", "loss on clean rows, 30 % swapped answers", "swapped answers have the highest losses, and no strategy of the paper turns from these: it takes hard rows for useful ones"},
		{"loss", "quadratic", "loss on clean rows, 30 % swapped answers", "known rows lose as much weight at the lower end as swapped ones at the upper"},
	} {
		c := lower(m[0], m[1], m[2], "swaps "+m[1], "swaps unweighted", "unweighted", m[3])
		c.open = true
		out = append(out, c)
	}
	c := lower("adapt", "τ 1, anchors of the family", "loss on clean rows of the family, 30 % swapped", "swaps adapt family", "swaps unweighted family", "unweighted", "")
	c.open = true
	return append(out, c)
}

// family claims that a selector finds the evaluation's family.
func family(method, setting, key string, least float64, why string) claim {
	return share(method, setting, "rows of the family", key+" share", least, why)
}

func share(method, setting, what, key string, least float64, why string) claim {
	return claim{method: method, setting: setting, what: what, key: key, percent: true, least: least, why: why}
}

func lower(method, setting, what, key, below, rival, why string) claim {
	return claim{method: method, setting: setting, what: what, key: key, below: below, rival: rival, why: why}
}

func (c claim) percentage() claim {
	c.percent = true
	return c
}

package config

// validateGenerate checks the configuration of `generate` and `chat`.
func validateGenerate(cfg *Config, f *faults) {
	c := checker{cfg, f}
	c.checkModel()
	c.checkGenerating()
}

func (c checker) checkGenerating() {
	g := c.Generating
	c.faultIf(g.MaxNewTokens < 1, "max_new_tokens", "it must be at least 1, got %d", g.MaxNewTokens)
	c.faultIf(g.Temperature < 0, "temperature", "it must not be negative, got %v", g.Temperature)
	c.faultIf(g.TopP <= 0 || g.TopP > 1, "top_p", "it must be above 0 and at most 1, got %v", g.TopP)
	c.faultIf(g.TopK < 0, "top_k", "it must not be negative, got %d: 0 draws among all tokens", g.TopK)
	c.faultIf(g.RepetitionPenalty <= 0, "repetition_penalty", "it must be positive, got %v: 1 is none", g.RepetitionPenalty)
	c.faultIf(c.Data.CutoffLen < 1, "cutoff_len", "it must be at least 1 token, got %d", c.Data.CutoffLen)
}

// checkPrediction checks do_predict.
func (c checker) checkPrediction() {
	t, d := c.Training, c.Data
	c.faultIf(t.PredictWithGenerate && !t.DoPredict && !t.DoEval, "predict_with_generate", "it only affects do_predict: set do_predict: true, or remove it")
	if !t.DoPredict {
		return
	}
	c.faultIf(!t.PredictWithGenerate, "do_predict", "it writes generated texts: set predict_with_generate: true as well")
	c.faultIf(c.Tuning.Stage != StageSFT, "do_predict", "it needs stage: sft, which is %s: remove it", c.Tuning.Stage)
	c.faultIf(len(d.EvalDataset) == 0 && d.ValSize < 1e-6, "do_predict", "there are no rows to answer: set eval_dataset, or val_size above 0")
	c.faultIf(d.Streaming, "do_predict", "it cannot be combined with streaming, set at %s: remove one of the two", c.At("streaming"))
	c.faultIf(c.Tuning.ComputeAccuracy, "compute_accuracy", "it cannot be combined with predict_with_generate, as upstream: remove one of the two")
	c.checkGenerating()
}

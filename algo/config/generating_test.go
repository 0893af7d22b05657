package config

import (
	"strings"
	"testing"
)

func TestGenerating(t *testing.T) {
	predict := []string{"model_name_or_path=m", "stage=sft", "output_dir=o", "template=default"}
	for keys, want := range map[string]string{
		"do_predict=true predict_with_generate=true eval_dataset=d":                       "",
		"do_predict=true eval_dataset=d":                                                  "do_predict: it writes generated texts: set predict_with_generate: true as well",
		"do_predict=true predict_with_generate=true":                                      "do_predict: there are no rows to answer: set eval_dataset",
		"do_train=true dataset=d predict_with_generate=true":                              "predict_with_generate: it only affects do_predict",
		"do_predict=true predict_with_generate=true eval_dataset=d stage=pt":              "do_predict: it needs stage: sft, which is pt",
		"do_predict=true predict_with_generate=true eval_dataset=d compute_accuracy=true": "compute_accuracy: it cannot be combined",
		"do_predict=true predict_with_generate=true eval_dataset=d max_new_tokens=0":      "max_new_tokens: it must be at least 1, got 0",
		"do_predict=true predict_with_generate=true eval_dataset=d num_beams=4":           "num_beams: beam search is not supported here",
		"do_predict=true predict_with_generate=true eval_dataset=d top_p=1.5":             "top_p: it must be above 0 and at most 1, got 1.5",
	} {
		_, err := Load("", append(predict, strings.Fields(keys)...))
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", keys, err, want)
		}
	}
	c, err := LoadGenerate("", []string{"model_name_or_path=m", "top_k=0", "do_sample=false", "learning_rate=1e-4"})
	if err != nil || c.Generating != (Generating{Temperature: 0.95, TopP: 0.7, MaxNewTokens: 1024, RepetitionPenalty: 1, SkipSpecialTokens: true}) {
		t.Errorf("%+v, %v", c, err)
	}
}

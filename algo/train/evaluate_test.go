package train

import (
	"math"
	"testing"

	"dataflex.dev/dataflex/algo/config"
)

// TestShorterEvaluationBatch: 7 rows in batches of 3; the batches' losses and eval_loss were
// recorded from Hugging Face's Trainer (stage pt) and Seq2SeqTrainer (stage sft, DataFlex),
// transformers 4.52.4.
func TestShorterEvaluationBatch(t *testing.T) {
	losses, rows := []float64{4.666666507720947, 25.66666603088379, 49}, []int{3, 3, 1}
	for _, run := range []struct {
		stage, kind string
		loss        float64
	}{
		{config.StagePT, config.Static, 20},
		{config.StagePT, config.DynamicMix, 26.44444465637207},
		{config.StageSFT, config.Static, 26.44444465637207},
	} {
		c := &config.Config{}
		c.Tuning.Stage, c.Dynamic.TrainType, c.Training.PerDeviceEvalBatchSize = run.stage, run.kind, 3
		v := &evaluator{config: c}
		var sum, weights float64
		for i, n := range rows {
			sum += v.weight(n) * losses[i]
			weights += v.weight(n)
		}
		if got := sum / weights; math.Abs(got-run.loss) > 1e-6*run.loss {
			t.Errorf("stage %s, %s: %v, recorded %v", run.stage, run.kind, got, run.loss)
		}
	}
}

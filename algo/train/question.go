package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dataflex.dev/dataflex/algo"
	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/processor"
)

// subtasks lists every evaluation row's subtask; nil if no row has one.
func subtasks(eval []data.Example) []string {
	out := make([]string, len(eval))
	for i, ex := range eval {
		out[i] = ex.Subtask
	}
	if !slices.ContainsFunc(out, func(name string) bool { return name != "" }) {
		return nil
	}
	return out
}

// questioner provides the evaluation rows as questions, for methods that ask the model. The
// rows' text is not part of the tokenised data: it is read again, from the files.
type questioner struct {
	config *config.Config
	data   *Data
	lent   *algo.Run
}

// ask sets Run.Questions if the method of that name needs them.
func (q *questioner) ask(ctx context.Context, method string) error {
	if len(q.lent.Eval) == 0 {
		return nil
	}
	key := "eval_dataset"
	if len(q.config.Data.EvalDataset) == 0 {
		key = "dataset" // the evaluation rows are held out of it
	}
	if q.config.Tuning.Stage != config.StageSFT {
		return q.config.Errorf("stage", "%s asks the evaluation rows' questions, but rows of stage %s are not questions and answers: set stage: sft", method, q.config.Tuning.Stage)
	}
	var err error
	if q.lent.Questions, err = q.questions(ctx, q.lent.Eval); err != nil {
		return q.config.Errorf(key, "the evaluation rows' text, which %s needs: %w", method, err)
	}
	return nil
}

// questions are the rows as questions, in their order.
func (q *questioner) questions(ctx context.Context, rows []data.Example) ([]algo.Question, error) {
	ids := make([]data.ID, len(rows))
	for i, ex := range rows {
		if len(ex.Members) > 1 {
			return nil, fmt.Errorf("row %d of %s is packed together with others: turn packing off", ex.Row, ex.Dataset)
		}
		ids[i] = ex.ID
	}
	d := q.data
	c, err := dataset.OpenCatalog(d.options.DatasetDir, d.options.Info)
	if err != nil {
		return nil, err
	}
	samples, err := dataset.Find(ctx, c, ids, d.options.Process.Threads)
	if err != nil {
		return nil, err
	}
	encoder, err := processor.NewSFT(d.Tokenizer, d.options.Template, d.options.Process)
	if err != nil {
		return nil, err
	}
	out := make([]algo.Question, len(rows))
	for i := range samples {
		if out[i], err = q.question(encoder, &samples[i], rows[i]); err != nil {
			return nil, fmt.Errorf("row %d of %s: %w", ids[i].Row, ids[i].Dataset, err)
		}
	}
	return out, nil
}

// question is a row before its answer. A row that differs from the tokenised one, which can
// happen with tokenized_path, is an error.
func (q *questioner) question(encoder processor.Encoder, s *data.Sample, row data.Example) (out algo.Question, err error) {
	again, dropped, err := encoder.Encode(s)
	switch {
	case err != nil:
		return out, err
	case dropped != nil:
		return out, fmt.Errorf("it has changed since it was tokenised: %s", dropped.Kind)
	case len(row.Members) == 0 && !slices.Equal(again.InputIDs, row.InputIDs):
		return out, errors.New("its text gives different tokens than those on disk: the file, template or cutoff_len has changed since it was tokenised")
	}
	pair, err := q.data.options.Template.EncodeOne(q.data.Tokenizer, slices.Concat(s.Prompt, s.Response), s.System, s.Tools)
	if err != nil {
		return out, err
	}
	last := s.Prompt[len(s.Prompt)-1].Content
	out = algo.Question{Prompt: pair.Source, Instruction: last, Input: s.Query, Reference: s.Response[0].Content}
	if s.Query != "" {
		out.Instruction = strings.TrimSuffix(strings.TrimSuffix(last, s.Query), "\n")
	}
	return out, nil
}

package evaluate

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/storage"
)

// Question is a question with four answers, one of them correct.
type Question struct {
	Text    string
	Choices [4]string
	Answer  int
}

// Subject is the questions of one subject, and the answered ones that are shown as examples.
type Subject struct {
	Name  string
	Shots []Question // dev
	Tests []Question
}

// letters name the answers.
var letters = [4]string{"A", "B", "C", "D"}

// ReadMMLU reads a folder in the layout of hendrycks/test: dev/SUBJECT_dev.csv and
// test/SUBJECT_test.csv with question, four answers and a letter, without a header. names
// selects subjects; nil = all.
func ReadMMLU(dir string, names []string) ([]Subject, error) {
	files, err := filepath.Glob(filepath.Join(dir, "test", "*_test.csv"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no test/SUBJECT_test.csv: name a folder with MMLU's dev and test", dir)
	}
	slices.Sort(files)
	var out []Subject
	var known []string
	for _, f := range files {
		s := Subject{Name: strings.TrimSuffix(filepath.Base(f), "_test.csv")}
		known = append(known, s.Name)
		if names != nil && !slices.Contains(names, s.Name) {
			continue
		}
		if s.Tests, err = readQuestions(f); err != nil {
			return nil, err
		}
		s.Shots, err = readQuestions(filepath.Join(dir, "dev", s.Name+"_dev.csv"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // not needed for zero shots
			return nil, err
		}
		out = append(out, s)
	}
	for _, n := range names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("%s has no subject %q; there are %s", dir, n, strings.Join(known, ", "))
		}
	}
	return out, nil
}

func readQuestions(path string) ([]Question, error) {
	f, err := storage.OpenInput(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = 6
	records, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: question, A, B, C, D and the answer's letter are expected: %w", path, err)
	}
	out := make([]Question, len(records))
	for i, rec := range records {
		answer := slices.Index(letters[:], strings.TrimSpace(rec[5]))
		if answer < 0 {
			return nil, fmt.Errorf("%s, question %d: the answer is %q; A, B, C or D is expected (there is no header)", path, i+1, rec[5])
		}
		out[i] = Question{Text: rec[0], Choices: [4]string(rec[1:5]), Answer: answer}
	}
	return out, nil
}

// prompt is a question as lm-evaluation-harness writes it, up to the point where the letter of
// the answer follows after a space.
func (q Question) prompt() string {
	var b strings.Builder
	b.WriteString(strings.TrimSpace(q.Text))
	for i, c := range q.Choices {
		b.WriteString("\n" + letters[i] + ". " + c)
	}
	b.WriteString("\nAnswer:")
	return b.String()
}

// context is the text before the answer: the subject, shots answered questions, and q.
func (s Subject) context(q Question, shots int) string {
	var b strings.Builder
	b.WriteString("The following are multiple choice questions (with answers) about " + strings.ReplaceAll(s.Name, "_", " ") + ".\n\n")
	for _, shot := range s.Shots[:shots] {
		b.WriteString(shot.prompt() + " " + letters[shot.Answer] + "\n\n")
	}
	b.WriteString(q.prompt())
	return b.String()
}

// groups are lm-evaluation-harness's four parts of MMLU.
var groups = map[string]string{}

func init() {
	for group, subjects := range map[string]string{
		"humanities": "formal_logic high_school_european_history high_school_us_history high_school_world_history international_law " +
			"jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory professional_law world_religions",
		"other": "business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing medical_genetics " +
			"miscellaneous nutrition professional_accounting professional_medicine virology",
		"social_sciences": "econometrics high_school_geography high_school_government_and_politics high_school_macroeconomics " +
			"high_school_microeconomics high_school_psychology human_sexuality professional_psychology public_relations security_studies sociology us_foreign_policy",
		"stem": "abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science college_mathematics college_physics " +
			"computer_security conceptual_physics electrical_engineering elementary_mathematics high_school_biology high_school_chemistry " +
			"high_school_computer_science high_school_mathematics high_school_physics high_school_statistics machine_learning",
	} {
		for s := range strings.FieldsSeq(subjects) {
			groups[s] = group
		}
	}
}

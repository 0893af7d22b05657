package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"dataflex.dev/dataflex/algo/reward"
)

// judgeArgument makes this program NICE's judge.
const judgeArgument = "--judge"

// judge is the program that NICE calls (reward: command): the reward of an answer is the share
// of its correct characters, which is not differentiable.
func judge(in io.Reader, out io.Writer) error {
	s := bufio.NewScanner(in)
	for s.Scan() {
		var c reward.Case
		if err := json.Unmarshal(s.Bytes(), &c); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "{\"reward\": %v}\n", right(c.Answer, c.Reference)); err != nil {
			return err
		}
	}
	return s.Err()
}

// right is the share of characters that equal the reference's at the same position, relative to
// the longer text.
func right(answer, reference string) float64 {
	same := 0
	for i := range min(len(answer), len(reference)) {
		if answer[i] == reference[i] {
			same++
		}
	}
	return float64(same) / float64(max(len(answer), len(reference), 1))
}

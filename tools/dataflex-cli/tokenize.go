package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/data/hub"
	"dataflex.dev/dataflex/data/tokenizer"
)

func tokenizeCommand() *cobra.Command {
	var special, decode bool
	c := &cobra.Command{
		Use:   "tokenize MODEL",
		Short: "Turn text into the ids of a model's tokenizer, line by line, and back",
		Long: "Reads one JSON string a line from standard input and writes its ids, a JSON array, as a line; with --decode the other way round.\n" +
			"Special tokens written in a text become their ids; none are added, and --decode skips them, unless --special is given.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := hub.Model(args[0], "", "")
			if err != nil {
				return err
			}
			tok, err := tokenizer.Load(dir)
			if err != nil {
				return err
			}
			one := encodeLine(tok, special)
			if decode {
				one = decodeLine(tok, special)
			}
			return eachLine(untilDone(cmd.Context(), os.Stdin), os.Stdout, one)
		},
	}
	c.Flags().BoolVar(&special, "special", false, "add the special tokens that the tokenizer puts around a text; with --decode, show special tokens")
	c.Flags().BoolVar(&decode, "decode", false, "turn ids into text")
	return c
}

// untilDone is r until ctx ends: a blocked read, as from a terminal, then returns the context's
// error.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() { // ends with r, or with the process
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	return out
}

// eachLine answers every line of r with the result of one, and reports which line failed.
func eachLine(r io.Reader, w io.Writer, one func(dst, line []byte) ([]byte, error)) error {
	in, out := bufio.NewReaderSize(r, 1<<16), bufio.NewWriterSize(w, 1<<16)
	var answer []byte
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return errors.Join(fmt.Errorf("standard input, line %d: %w", n, err), out.Flush())
		}
		if err == io.EOF && len(bytes.TrimSpace(line)) == 0 {
			return out.Flush()
		}
		var fault error
		if answer, fault = one(answer[:0], line); fault != nil {
			return errors.Join(fmt.Errorf("standard input, line %d: %w", n, fault), out.Flush())
		}
		if _, err := out.Write(append(answer, '\n')); err != nil {
			return err
		}
		if in.Buffered() == 0 { // flush before a read that may wait for more input
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

func encodeLine(tok *tokenizer.Tokenizer, special bool) func(dst, line []byte) ([]byte, error) {
	return func(dst, line []byte) ([]byte, error) {
		var text *string
		if err := json.Unmarshal(line, &text); err != nil || text == nil {
			return dst, errors.New("a JSON string is expected, such as \"Hello\"")
		}
		var ids []int32
		if special {
			ids = tok.EncodeSpecial(*text)
		} else {
			ids = tok.Encode(*text)
		}
		dst = append(dst, '[')
		for i, id := range ids {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendInt(dst, int64(id), 10)
		}
		return append(dst, ']'), nil
	}
}

func decodeLine(tok *tokenizer.Tokenizer, special bool) func(dst, line []byte) ([]byte, error) {
	return func(dst, line []byte) ([]byte, error) {
		var ids *[]int32
		if err := json.Unmarshal(line, &ids); err != nil || ids == nil {
			return dst, errors.New("a JSON array of token ids is expected, such as [1,2]")
		}
		var text bytes.Buffer
		e := json.NewEncoder(&text)
		e.SetEscapeHTML(false)
		err := e.Encode(tok.Decode(*ids, !special))
		return append(dst, bytes.TrimSuffix(text.Bytes(), []byte("\n"))...), err
	}
}

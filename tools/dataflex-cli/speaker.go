package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/algo/predict"
	"dataflex.dev/dataflex/data"
	"dataflex.dev/dataflex/data/display"
	"dataflex.dev/dataflex/data/jinja"
	"dataflex.dev/dataflex/data/pyjson"
	"dataflex.dev/dataflex/data/storage"
	"dataflex.dev/dataflex/data/template"
	"dataflex.dev/dataflex/data/tokenizer"
	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/checkpoint"
	"dataflex.dev/dataflex/model/decoder"
	"dataflex.dev/dataflex/model/generate"
)

// speakOptions are the flags that generate and chat share.
type speakOptions struct {
	system       string
	tools        string // file
	chatTemplate bool
	stop         []string
	device       string
}

func (o *speakOptions) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.system, "system", "", "system prompt")
	c.Flags().StringVar(&o.tools, "tools", "", "JSON file with the list of tools that the model may call")
	c.Flags().BoolVar(&o.chatTemplate, "chat-template", false, "format prompts by the tokenizer's own chat template instead of template")
	c.Flags().StringArrayVar(&o.stop, "stop", nil, "text that ends an answer and is not part of it; may be given several times")
	c.Flags().StringVar(&o.device, "device", "", "auto, cpu, cuda, cuda:N, sim or sim:90")
}

// speaker is a model that generates answers.
type speaker struct {
	config *config.Config
	tok    *tokenizer.Tokenizer
	model  *decoder.Model
	encode func(cutoff int) predict.Encode
	stop   []int32
	tools  string
	o      speakOptions
}

// newSpeaker reads the tokenizer and how prompts are formatted; load reads the model.
func newSpeaker(c *config.Config, o speakOptions) (*speaker, error) {
	s := &speaker{config: c, o: o}
	if o.tools != "" {
		raw, err := storage.ReadFile(o.tools)
		if err != nil {
			return nil, fmt.Errorf("--tools: %w", err)
		}
		if _, err := pyjson.Decode(raw); err != nil {
			return nil, fmt.Errorf("--tools: %s: %w", o.tools, err)
		}
		s.tools = string(raw)
	}
	if o.chatTemplate {
		return s, s.ownTemplate()
	}
	tok, tmpl, err := readTokenizer(c)
	if err != nil {
		return nil, err
	}
	s.tok, s.stop = tok, predict.Stop(tok, tmpl)
	s.encode = func(cutoff int) predict.Encode { return predict.Templated(tok, tmpl, cutoff) }
	return s, nil
}

// ownTemplate uses the chat template stored with the tokenizer. Its answers also end at the
// tokens in generation_config.json.
func (s *speaker) ownTemplate() error {
	if err := s.config.ModelsHere(); err != nil {
		return err
	}
	dir := s.config.Model.NameOrPath
	var err error
	if s.tok, err = tokenizer.Load(dir); err != nil {
		return s.config.Errorf("model_name_or_path", "%w", err)
	}
	text := s.tok.ChatTemplate()
	if s.tools != "" {
		text = s.tok.ToolTemplate()
	}
	if strings.TrimSpace(text) == "" {
		return fmt.Errorf("--chat-template: the tokenizer of %s has none: leave the flag out and set template", dir)
	}
	chat, err := jinja.Compile(text)
	if err != nil {
		return fmt.Errorf("--chat-template: %w", err)
	}
	s.stop = predict.Stop(s.tok, nil)
	g, err := checkpoint.ReadGenerationConfig(dir)
	if err != nil {
		return s.config.Errorf("model_name_or_path", "%w", err)
	}
	var one struct {
		EOS *int32 `json:"eos_token_id"`
	}
	var several struct {
		EOS []int32 `json:"eos_token_id"`
	}
	if json.Unmarshal(g.Encode(), &one) == nil && one.EOS != nil {
		s.stop = append(s.stop, *one.EOS)
	} else if json.Unmarshal(g.Encode(), &several) == nil {
		s.stop = append(s.stop, several.EOS...)
	}
	s.encode = func(int) predict.Encode { return chatEncode(s.tok, chat) }
	return nil
}

// roles are transformers' names of our roles.
var roles = map[data.Role]string{data.User: "user", data.Assistant: "assistant", data.Function: "assistant", data.Observation: "tool", data.System: "system"}

// chatEncode formats conversations as transformers' apply_chat_template does with
// add_generation_prompt.
func chatEncode(tok *tokenizer.Tokenizer, chat *jinja.Template) predict.Encode {
	return func(messages []data.Message, system, tools, label string) (prompt, answer []int32, err error) {
		var list []any
		say := func(role, text string) {
			list = append(list, pyjson.Object{{Key: "role", Value: role}, {Key: "content", Value: text}})
		}
		if system != "" {
			say("system", system)
		}
		for _, m := range messages {
			say(roles[m.Role], m.Content)
		}
		vars := template.ChatVariables(tok)
		vars["messages"], vars["add_generation_prompt"] = list, true
		if tools != "" {
			if vars["tools"], err = pyjson.Decode([]byte(tools)); err != nil {
				return nil, nil, fmt.Errorf("tools: %w", err)
			}
		}
		text, err := chat.Render(vars, jinja.Options{Now: time.Now()})
		if err != nil {
			return nil, nil, err
		}
		return tok.Encode(text), tok.Encode(label), nil
	}
}

// load reads the model and merges its adapters.
func (s *speaker) load(dev driver.Device) (err error) {
	s.model, err = mergedModel(s.config, dev)
	return err
}

func (s *speaker) Close() {
	if s.model != nil {
		s.model.Close()
	}
}

// row is the prompt of a typed conversation, which is not truncated.
func (s *speaker) row(messages []data.Message) (predict.Row, error) {
	prompt, _, err := s.encode(math.MaxInt32)(messages, s.o.system, s.tools, "")
	if err == nil && len(prompt) == 0 {
		err = fmt.Errorf("the prompt is empty")
	}
	return predict.Row{Prompt: prompt}, err
}

// answer continues rows. answered is called with each answer as soon as it is known, in the order
// of rows; grown, if not nil, with the growing text of the only row.
func (s *speaker) answer(ctx context.Context, rows []predict.Row, grown func(text string), answered func(predict.Answer) error) error {
	o := predict.Options(s.config, s.stop)
	prompts := make([][]int32, len(rows))
	for i, r := range rows {
		prompts[i] = r.Prompt
	}
	skip := s.config.Generating.SkipSpecialTokens
	if grown != nil || len(s.o.stop) > 0 {
		o.Grown = func(_ int, continuation []int32) bool {
			text, ended := s.cut(s.tok.Decode(continuation, skip))
			if grown != nil {
				grown(text)
			}
			return ended
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var untold error
	known, next := map[int]predict.Answer{}, 0
	o.Done = func(i int, continuation []int32) {
		a := predict.NewAnswer(s.tok, rows[i], continuation, skip)
		a.Predict, _ = s.cut(a.Predict)
		for known[i] = a; ; next++ {
			a, ok := known[next]
			if !ok {
				return
			}
			delete(known, next)
			if untold = answered(a); untold != nil {
				cancel() // the others are not needed
				return
			}
		}
	}
	_, err := generate.Generate(ctx, s.model, prompts, o)
	if untold != nil {
		return untold
	}
	return err
}

// cut truncates a text before the first of the texts that end it.
func (s *speaker) cut(text string) (string, bool) {
	at := -1
	for _, stop := range s.o.stop {
		if i := strings.Index(text, stop); stop != "" && i >= 0 && (at < 0 || i < at) {
			at = i
		}
	}
	if at < 0 {
		return text, false
	}
	return text[:at], true
}

// stream writes a growing text to w as far as it is final: bytes of an incomplete character are
// held back, and so is what may become a text that ends the answer.
type stream struct {
	w       io.Writer
	stop    []string
	written int
}

func (s *stream) grow(text string) {
	end := len(strings.TrimRight(text, "\ufffd"))
	for _, stop := range s.stop {
		for n := min(len(stop)-1, len(text)); n > 0; n-- {
			if strings.HasSuffix(text, stop[:n]) {
				end = min(end, len(text)-n)
				break
			}
		}
	}
	if end > s.written {
		_, _ = io.WriteString(s.w, text[s.written:end]) // an error is returned again at the end of the answer
		s.written = end
	}
}

// finish writes the rest of the text.
func (s *stream) finish(text string) error {
	_, err := io.WriteString(s.w, text[min(s.written, len(text)):]+"\n")
	return err
}

// printable escapes control characters of an answer for a terminal.
type printable struct{ w io.Writer }

func (p printable) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, display.Printable(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

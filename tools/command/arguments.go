package command

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dataflex.dev/dataflex/algo/config"
	"dataflex.dev/dataflex/data/yamlfile"
)

// takesConfig marks a command whose arguments are a configuration and keys of it.
const takesConfig = "config"

// TakesConfig makes a command's first argument a configuration and the others overriding keys,
// in every notation used by LLaMA-Factory and DataFlex: see Arguments.
func TakesConfig(c *cobra.Command) *cobra.Command {
	c.Annotations = map[string]string{takesConfig: "yes"}
	c.Use += " CONFIG [key=value ...]"
	c.DisableFlagsInUseLine = true
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("no configuration: %s; dataflex-cli init writes one for your model and data", c.UseLine())
		}
		return nil
	}
	return c
}

// Arguments prepares a command line for cobra. An unknown command is an error that names the
// nearest. For a command with TakesConfig, the configuration is put first ("" where all keys
// are on the command line, "-" for standard input), then the keys as key=value, whether they
// were given as key=value, --key=value, --key value, or as --key alone for a boolean; -config,
// with one dash or two, names the configuration; flags may have one dash.
func Arguments(root *cobra.Command, args []string) ([]string, error) {
	if len(args) > 0 && strings.HasPrefix(args[0], "__") { // a request by the shell's completion
		return args, nil
	}
	root.InitDefaultHelpCmd() // cobra would add them later, too late to be found
	root.InitDefaultCompletionCmd(args...)
	c, rest, err := root.Find(args)
	if err != nil {
		return nil, unknownCommand(root, args)
	}
	if c.Annotations[takesConfig] == "" {
		return args, nil
	}
	p := parser{command: c, left: rest}
	if err := p.parse(); err != nil {
		return nil, err
	}
	path := strings.Fields(c.CommandPath())[1:]
	out := slices.Concat(path, p.flags)
	if p.file != nil {
		out = append(out, *p.file)
	} else if len(p.keys) > 0 {
		out = append(out, "")
	}
	return append(out, p.keys...), nil
}

// unknownCommand is the error for an unknown command.
func unknownCommand(root *cobra.Command, args []string) error {
	var names []string
	for _, c := range root.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	word := args[0]
	for _, a := range args {
		if !strings.HasPrefix(a, "-") {
			word = a
			break
		}
	}
	if near, ok := yamlfile.Nearest(word, names); ok {
		return fmt.Errorf("there is no command %q: did you mean %s?", word, near)
	}
	slices.Sort(names)
	return fmt.Errorf("there is no command %q; there are %s", word, strings.Join(names, ", "))
}

// parser sorts the arguments of a command.
type parser struct {
	command *cobra.Command
	left    []string
	flags   []string // of the command, with two dashes
	file    *string
	keys    []string // key=value
}

func (p *parser) next() string {
	a := p.left[0]
	p.left = p.left[1:]
	return a
}

func (p *parser) parse() error {
	for len(p.left) > 0 {
		a := p.next()
		switch {
		case a == "--":
			p.keys, p.left = append(p.keys, p.left...), nil
		case a != "-" && strings.HasPrefix(a, "-"):
			if err := p.dashed(a); err != nil {
				return err
			}
		case !strings.Contains(a, "=") || p.file == nil && exists(a):
			if err := p.config(a); err != nil {
				return err
			}
		default:
			p.keys = append(p.keys, a)
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// config handles a configuration's file. Another word beside it is a key without a value.
func (p *parser) config(file string) error {
	if p.file == nil {
		p.file = &file
		return nil
	}
	if exists(file) {
		return fmt.Errorf("two configurations, %s and %s: give one, and write keys as key=value", *p.file, file)
	}
	p.keys = append(p.keys, file)
	return nil
}

// dashed handles an argument that begins with a dash: a flag of the command, or a key.
func (p *parser) dashed(a string) error {
	name, value, given := strings.Cut(strings.TrimLeft(a, "-"), "=")
	switch flag := p.flag(name); {
	case name == "config":
		if !given && len(p.left) == 0 {
			return fmt.Errorf("-config needs the file of a configuration")
		}
		if !given {
			value = p.next()
		}
		return p.config(value)
	case name == "h" || name == "help":
		p.flags = append(p.flags, "--help")
		return nil
	case flag != nil:
		return p.takeFlag(flag, value, given)
	}
	key := strings.ReplaceAll(name, "-", "_")
	head, _, _ := strings.Cut(key, ".")
	for _, k := range config.Keys() {
		switch {
		case k.Name == head:
			return p.takeKey(k, key, value, given)
		case "no_"+k.Name == key && k.Type == config.Bool && !given:
			p.keys = append(p.keys, k.Name+"=false")
			return nil
		}
	}
	return p.unknown(a, key)
}

// flag finds a flag of the command; --dry_run is --dry-run.
func (p *parser) flag(name string) *pflag.Flag {
	p.command.InitDefaultVersionFlag()
	if f := p.command.Flags().Lookup(name); f != nil {
		return f
	}
	return p.command.Flags().Lookup(strings.ReplaceAll(name, "_", "-"))
}

func (p *parser) takeFlag(f *pflag.Flag, value string, given bool) error {
	switch {
	case given:
	case f.NoOptDefVal != "":
		value = f.NoOptDefVal
	case len(p.left) == 0:
		return fmt.Errorf("--%s needs a value", f.Name)
	default:
		value = p.next()
	}
	p.flags = append(p.flags, "--"+f.Name+"="+value)
	return nil
}

var (
	number = regexp.MustCompile(`^-[\d.]`)
	yes    = []string{"yes", "true", "t", "y", "1"} // as Hugging Face's parser reads booleans
	no     = []string{"no", "false", "f", "n", "0"}
)

// takeKey handles a key and the value that follows it. A list may have several.
func (p *parser) takeKey(k config.Key, key, value string, given bool) error {
	follows := func() bool {
		return len(p.left) > 0 && (!strings.HasPrefix(p.left[0], "-") || number.MatchString(p.left[0]))
	}
	switch {
	case given:
		p.keys = append(p.keys, key+"="+value)
		return nil
	case k.Type == config.Bool:
		value = "true"
		if follows() {
			if word := strings.ToLower(p.left[0]); slices.Contains(no, word) || slices.Contains(yes, word) {
				value = strconv.FormatBool(slices.Contains(yes, word))
				p.next()
			}
		}
	case !follows():
		return fmt.Errorf("--%s needs a value", key)
	default:
		value = p.next()
		for k.Type == config.List && follows() && !strings.Contains(p.left[0], "=") {
			value += "," + p.next()
		}
	}
	if k.Type == config.Text && strings.ContainsAny(value, ":#{}[]&*!|>'\"%@,`\n") {
		value = strconv.Quote(value) // the words of a shell are literal text
	}
	p.keys = append(p.keys, key+"="+value)
	return nil
}

// unknown is the error for an unknown flag.
func (p *parser) unknown(a, key string) error {
	known := []string{"config"}
	for _, k := range config.Keys() {
		known = append(known, k.Name)
	}
	p.command.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near, ok := config.Suggest(key, known); ok {
		return fmt.Errorf("unknown option %s: did you mean --%s?", a, near)
	}
	return fmt.Errorf("unknown option %s: see %s --help", a, p.command.CommandPath())
}

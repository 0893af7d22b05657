package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"dataflex.dev/dataflex/data/dataset"
	"dataflex.dev/dataflex/data/tokenizer"
)

// sources looks up each of the named datasets once.
func (b *builder) sources(names []string) error {
	for _, name := range names {
		if b.sets[name] != nil {
			continue
		}
		s, err := b.catalog.Source(name)
		if err != nil {
			return err
		}
		if b.o.Streaming {
			s.NumSamples = 0
		}
		b.sets[name] = &encoded{source: s, number: len(b.names)}
		b.names = append(b.names, name)
		b.warnings = append(b.warnings, s.Warnings...)
	}
	b.warnings = append(b.warnings, dataset.Repeated(names)...)
	return nil
}

// makeKey hashes everything that the examples depend on.
func (b *builder) makeKey(ctx context.Context) error {
	h := sha256.New()
	o, p := b.o, b.o.Process
	fmt.Fprintf(h, "%s %d\n%s\n", formatName, formatVersion, program(ctx, b.dir))
	if err := hashTokenizer(h, o.Tokenizer); err != nil {
		return err
	}
	fmt.Fprintf(h, "template %s\npretrain %v cutoff %d prompt %v history %v\n", o.Template.Identity(), o.Pretrain, p.CutoffLen, p.TrainOnPrompt, p.MaskHistory)
	packing := "null"
	if p.Packing != nil {
		packing = fmt.Sprint(*p.Packing)
	}
	fmt.Fprintf(h, "packing %s neat %v\n", packing, p.NeatPacking)
	if b.encoder.Packs() {
		fmt.Fprintf(h, "workers %d batch %d\n", p.Workers, p.BatchSize)
	}
	draws := o.ValSize > 0 || o.Probs != nil || o.Streaming
	for _, s := range b.sets {
		draws = draws || s.source.NumSamples > 0
	}
	if draws { // otherwise nothing depends on the seed
		fmt.Fprintf(h, "seed %d\n", o.Seed)
	}
	if o.Streaming {
		fmt.Fprintf(h, "buffer %d\n", o.BufferSize)
	}
	fmt.Fprintf(h, "max %d mix %s probs %v val %v\ntrain %q apart %v\neval %q apart %v\nmixer %q\n",
		o.MaxSamples, o.Mix, o.Probs, o.ValSize, o.Train, o.TrainEach, o.Eval, o.EvalEach, o.Mixer)
	for _, name := range b.names {
		if err := b.hashSource(ctx, h, b.sets[name].source); err != nil {
			return err
		}
	}
	b.key = hex.EncodeToString(h.Sum(nil))
	return nil
}

// hashSource hashes a data set's files, and keeps their marks for build.
func (b *builder) hashSource(ctx context.Context, h hash.Hash, s *dataset.Source) error {
	fmt.Fprintf(h, "dataset %q %d %s\n", s.Name, s.NumSamples, s.Definition())
	for _, path := range s.Files() {
		sum, mark, err := hashFile(ctx, b.dir, path)
		if err != nil {
			return err
		}
		b.marks[path] = mark
		fmt.Fprintf(h, "file %s\n", sum)
	}
	return nil
}

// hashTokenizer hashes the tokenizer's current state, through the files that Save would write.
func hashTokenizer(h hash.Hash, tok *tokenizer.Tokenizer) error {
	var files []string
	err := tok.Save("", func(path string, text []byte) error {
		files = append(files, fmt.Sprintf("%s %x\n", path, sha256.Sum256(text)))
		return nil
	})
	slices.Sort(files)
	fmt.Fprint(h, strings.Join(files, ""))
	return err
}

// program identifies the code that makes the examples: the commit it was built from, or where
// that is not enough, the content of the executable.
func program(ctx context.Context, dir string) string {
	revision, modified := "", true
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				revision = s.Value
			case "vcs.modified":
				modified = s.Value != "false"
			}
		}
	}
	if revision != "" && !modified {
		return "commit " + revision
	}
	path, err := os.Executable()
	if err == nil {
		var sum string
		if sum, _, err = hashFile(ctx, dir, path); err == nil {
			return "executable " + sum
		}
	}
	// Unknown code: no cache is ever found again, which is slow but correct.
	return fmt.Sprintf("process %d %v", os.Getpid(), err)
}

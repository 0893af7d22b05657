// Command dataflex-train trains as a LLaMA-Factory or DataFlex YAML describes.
//
//	dataflex-train -config less.yaml [key=value ...]
package main

import (
	"context"
	"os"

	"dataflex.dev/dataflex/tools/command"
)

func main() {
	command.Main(func(ctx context.Context) error { return run(ctx, os.Args[1:]) })
}

func run(ctx context.Context, args []string) error {
	return command.Program(ctx, command.TrainCommand("dataflex-train"), args)
}

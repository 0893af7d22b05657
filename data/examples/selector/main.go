// Command train is dataflex-train with one more selector: a method of your own needs no
// fork, only a package that calls algo.RegisterSelector and a program that imports it.
//
//	go mod tidy && go build -o train .
//	./train -config run.yaml     with component_name: longest
package main

import (
	"context"
	"os"

	"dataflex.dev/dataflex/tools/command"
)

func main() {
	command.Main(func(ctx context.Context) error {
		return command.Program(ctx, command.TrainCommand("train"), os.Args[1:])
	})
}

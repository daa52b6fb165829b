# Targets for people and for CI. `make help` lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
# How long each fuzz target runs under `make fuzz`.
FUZZTIME ?= 30s
# How much `make fuzz-volume` and `make soak` do.
VOLUME    ?= 10000000
SOAK_URLS ?= 2000000
# The size of `make scale`: bodies in MiB, idle connections, slow-header clients.
SCALE ?= -size 4096 -idle 20000 -slow 200 -requests 20000
# The size of `make ledger`.
LEDGER ?= -tasks 1000000 -kills 100 -outages 20 -restarts 10 -hangs 5 -pauses 3
# Packages that `make test` covers; the bench suite is a module of its own.
PKGS    ?= ./...
# A checkout of the repository of http-cache-tests, for `make conformance`.
SUITE_DIR ?= $(HTTP_CACHE_TESTS_DIR)

.DEFAULT_GOAL := help
.PHONY: help build pgo image test test-deps lint fuzz fuzz-volume soak scale fleet ledger ledger-backlog peers frameworks producers hotpath profile microbench bench bench-queue bench-http bench-deps bench-test demo fastapi conformance coherence revocation halfopen clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/pillion, a static binary.
	CGO_ENABLED=0 $(GO) build -trimpath -pgo=cmd/pillion/release.pgo -ldflags '$(LDFLAGS)' -o bin/pillion ./cmd/pillion

pgo: bench-deps ## Profile the program under the load suite into cmd/pillion/release.pgo, by which `make build` and the image are optimised.
	rm -rf bin/pgo && mkdir -p bin/pgo
	CGO_ENABLED=0 $(GO) build -tags profile -ldflags '-X main.version=profile -X main.profileDir=$(CURDIR)/bin/pgo' -o bin/pgo/pillion ./cmd/pillion
	cd bench && $(GO) run . http --pillion $(CURDIR)/bin/pgo/pillion --peers pillion --rounds 1 --for 8s \
		--scenario hit-1k,hit-256k,hit-vary,hit-304,session-hit,session-pass,pass-get,pass-post
	cd bench && $(GO) run . queue-drain --pillion $(CURDIR)/bin/pgo/pillion --peers pillion --rounds 2
	$(GO) tool pprof -proto bin/pgo/*.cpu > bin/pgo/merged && mv bin/pgo/merged cmd/pillion/release.pgo

image: ## Build the container image TAG (default pillion) with docker, podman or buildah, and print its size. IMAGE="--platform linux/arm64", ENGINE=buildah.
	@./.ci/image '$(or $(TAG),pillion)' '$(VERSION)' $(IMAGE)

test: test-deps lint ## Install what the tests need, and run them all with the race detector.
	@# Allocation gates count without the race detector, which makes pools drop at random.
	$(GO) test -run 'Alloc|Memory' ./proxy/...
	$(GO) test -run 'Soak' ./cmd/pillion
	$(GO) test ./scale
	@# What a request costs, in counts that the race detector would change.
	$(GO) test ./hotpath
	$(GO) test -race -timeout 15m $(PKGS)

test-deps: ## Install redis-server, the FastAPI example's packages, the clients of `make peers`, the frameworks of `make frameworks`, the clients of `make producers` and valgrind where they are absent.
	./.ci/install-deps

lint: ## Check formatting and suspicious code.
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PKGS)

fuzz: ## Run every fuzz target for FUZZTIME (default 30s) each.
	@./.ci/fuzz $(FUZZTIME)

fuzz-volume: ## Ask the cache's pure functions about VOLUME (default 10000000) messages built at random.
	$(GO) test ./cache -run Volume -v -timeout 2h -volume $(VOLUME)

soak: ## Pass SOAK_URLS (default 2000000) unique URLs through a process and watch its resident memory.
	$(GO) test ./cmd/pillion -run Soak -v -timeout 2h -urls $(SOAK_URLS) -memory 128 -redis-memory 256

scale: ## Pass bodies of 4 GiB, streams, and 20,000 idle connections through the program, and print memory and latency. SCALE="-size MiB -idle n -slow n".
	$(GO) test ./scale -v -count=1 -timeout 30m $(SCALE)

fleet: test-deps ## Simulate up to 200 pods on one Redis, and print what they cost it; CSV files go to bin/fleet. FLEET="-only hot -pods 10,50".
	$(GO) run ./fleet -csv bin/fleet $(FLEET)

ledger: ## Deliver 1,000,000 tasks through 100 kill -9 of agents, 20 outages of the application and 10 restarts of Redis; writes the table in docs/queues.md. SEED=n repeats the choices, LEDGER="-tasks n -kills n -outages n -restarts n -hangs n -pauses n".
	$(GO) test ./ledger -run 'TestLedger$$' -v -count=1 -timeout 1h -doc ../docs/queues.md $(LEDGER)

ledger-backlog: ## Deliver a backlog of BACKLOG (default 10000000) tasks and watch the agent's resident memory.
	$(GO) test ./ledger -run 'TestBacklog$$' -v -count=1 -timeout 2h -backlog $(or $(BACKLOG),10000000)

peers: test-deps ## Run curl, wrk, Python, Node and Chromium against the program in front of a FastAPI and a Node application.
	$(GO) test ./peers -v -count=1 -timeout 15m

frameworks: test-deps ## Log in and out through Express, Django, Flask, PHP and FastAPI behind the program.
	$(GO) test ./frameworks -v -count=1 -timeout 15m

producers: test-deps ## Put tasks into Redis with Celery, Sidekiq and redis-py, and look at what the program delivers.
	$(GO) test ./producers -v -count=1 -timeout 15m

hotpath: ## Count what a request costs, and compare with the baseline. HOTPATH=-update writes a new one, HOTPATH="-functions 30" shows where instructions go.
	$(GO) test ./hotpath -v -count=1 $(HOTPATH)

profile: ## Profile CPU and allocations of SCENARIO (hit, session, pass, …; see BenchmarkServed), into bin/.
	@mkdir -p bin
	$(GO) test ./proxy -run '^$$' -bench 'Served/^$(or $(SCENARIO),hit)$$' -benchtime 5s -o bin/profile.test \
		-cpuprofile bin/$(or $(SCENARIO),hit).cpu -memprofile bin/$(or $(SCENARIO),hit).mem -memprofilerate 512
	$(GO) tool pprof -top -nodecount 40 bin/profile.test bin/$(or $(SCENARIO),hit).cpu
	$(GO) tool pprof -top -nodecount 20 -sample_index alloc_objects bin/profile.test bin/$(or $(SCENARIO),hit).mem

microbench: ## Run the Go benchmarks of every package.
	$(GO) test -run '^$$' -bench . -benchmem $(PKGS)

bench: bench-deps ## Measure pillion beside other programs that do the same; writes docs/benchmarks.md unless the run was disturbed. BENCH="--rounds 3 --peers pillion,nginx".
	cd bench && $(GO) run . all $(BENCH)

bench-queue: bench-deps ## Measure the queue agent beside asynq and BullMQ, and write nothing. BENCH as above.
	cd bench && $(GO) run . all --write=false --only queue-drain,queue-idle,queue-delay $(BENCH)

bench-http: bench-deps ## Measure HTTP requests beside nginx, HAProxy, Varnish, Caddy and nginx with Lua and Redis, and write nothing. BENCH as above.
	cd bench && $(GO) run . http $(BENCH)

bench-deps: ## Install the programs that `make bench` measures, where they are absent.
	./bench/install-deps

bench-test: ## Run the tests of the load suite, which is a module of its own.
	cd bench && $(GO) vet ./... && $(GO) test -race ./...

demo: ## Run the demo: pillion, a small application and a Redis, all on this machine.
	$(GO) run ./cmd/pillion demo

fastapi: ## Walk through the FastAPI example.
	./examples/fastapi/run.sh

conformance: ## Run the public suite http-cache-tests; writes docs/conformance.md. SUITE_DIR=checkout, CONFORMANCE="-only ID".
	$(GO) run ./conformance -version '$(VERSION)' $(if $(SUITE_DIR),-suite-dir '$(SUITE_DIR)') $(CONFORMANCE)

coherence: ## Run the tests of coherence, purge races and stampedes at full size. SEED=n repeats the choices of one run.
	COHERENCE_ROUNDS=10000 INTERLEAVINGS=10000 TAG_ENTRIES=100000 EXPIRIES=10 SLOW_MS=5000 $(GO) test -count=1 -timeout 20m -v ./proxy \
		-run 'TestCoherence|TestFillsInFlight|TestTagPurge|TestHotKey|TestNobodyWaits|BringBack|Survive|TestPurgeEnds|TestFillFromAnOutage'

revocation: ## End 1,000 sessions while 50 processes use them, and print how long it takes until all refuse. PODS=n REVOCATIONS=n.
	PODS=$(or $(PODS),50) REVOCATIONS=$(or $(REVOCATIONS),1000) $(GO) test -count=1 -v -timeout 20m ./sessioncheck -run 'TestRevocation$$'

halfopen: ## Cut the link to Redis without a word, in a network namespace of its own; needs root and iproute2.
	HALF_OPEN=1 $(GO) test -count=1 -v -timeout 5m ./sessioncheck -run 'TestHalfOpen'

clean: ## Remove what the targets made.
	rm -rf bin

# Targets for people and for CI. `make help` lists them.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
# How long each fuzz target runs under `make fuzz`.
FUZZTIME ?= 30s
# Packages that `make test` covers; the bench suite is a module of its own.
PKGS    ?= ./...
# A checkout of the repository of http-cache-tests, for `make conformance`.
SUITE_DIR ?= $(HTTP_CACHE_TESTS_DIR)

.DEFAULT_GOAL := help
.PHONY: help build test test-deps lint fuzz bench demo fastapi conformance clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/pillion, a static binary.
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/pillion ./cmd/pillion

test: test-deps lint ## Install what the tests need, and run them all with the race detector.
	@# Allocation gates count without the race detector, which makes pools drop at random.
	$(GO) test -run 'Alloc' ./proxy/...
	$(GO) test -race -timeout 9m $(PKGS)

test-deps: ## Install redis-server and the FastAPI example's packages where they are absent.
	./.ci/install-deps

lint: ## Check formatting and suspicious code.
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "not formatted:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PKGS)

fuzz: ## Run every fuzz target for FUZZTIME (default 30s) each.
	@./.ci/fuzz $(FUZZTIME)

bench: ## Run the Go benchmarks of every package.
	$(GO) test -run '^$$' -bench . -benchmem $(PKGS)

demo: ## Run the demo: pillion, a small application and a Redis, all on this machine.
	$(GO) run ./cmd/pillion demo

fastapi: ## Walk through the FastAPI example.
	./examples/fastapi/run.sh

conformance: ## Run the public suite http-cache-tests; writes docs/conformance.md. SUITE_DIR=checkout, CONFORMANCE="-only ID".
	$(GO) run ./conformance -version '$(VERSION)' $(if $(SUITE_DIR),-suite-dir '$(SUITE_DIR)') $(CONFORMANCE)

clean: ## Remove what the targets made.
	rm -rf bin

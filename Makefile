# All tasks of the project. The work itself is done by scripts/ and cargo.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup build ktctl images demo test test-long check coverage bench accept cluster-up cluster-down

LAPTOPS ?= 2
NODES   ?= 1
KINDS   ?= plain

help: ## List the tasks
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: packages, rust targets, cargo-deny
	@scripts/setup.sh all

build: ## Build ktctl with the shadow programs in it: target/release/ktctl
	@scripts/build.sh

ktctl: build ## The same, by the name that the articles use

images: ## Write our images as archives: target/images/*.tar
	@scripts/images.sh

demo: ## Show connect, exchange and mesh on a real cluster
	@scripts/demo.sh

test: ## Run all tests of this machine
	@scripts/test.sh

test-long: ## The same tests with bigger numbers, and with Istio
	@KT_LONG=1 scripts/test.sh

check: ## Format, lints, walls and licences
	@scripts/check.sh

coverage: ## Each row of docs/coverage.md with its tests
	@scripts/coverage.sh

bench: build cluster-up ## Figures against kubectl port-forward
	@scripts/setup.sh peers
	cargo bench -p e2e --bench figures

accept: ## Take over the snapshots of unit tests as they are now
	INSTA_UPDATE=always cargo test --workspace --exclude e2e

cluster-up: ## Start the test cluster: LAPTOPS=2 NODES=1 KINDS=plain,...
	@scripts/setup.sh cluster
	@testbed/testbed up --nodes $(NODES) --laptops $(LAPTOPS) --laptop-kind $(KINDS)

cluster-down: ## End the test cluster
	@testbed/testbed down

# The commands of the project. `make demo` and `make test` need python3 (3.11 or newer) and make, nothing else.
# PY=python3.13 chooses the interpreter; WORKERS=4 the number of test processes.
SHELL    := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PATH     := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
PY       ?=
WORKERS  ?= 2
ARGS     ?=
# Everything is named from the repository's root, so that the root's own path may hold spaces.
BIN      := .venv/bin
INPUTS   := pyproject.toml constraints.txt tools/setup.sh
EXTRAS   := manager,smb,bucket,watch,envoy,postgres,windows,ssh,notify,dns-more,backup,bindings
export PATH PY
export PYTHONDONTWRITEBYTECODE := 1
.DEFAULT_GOAL := help
.PHONY: help setup demo check lint format quick test packages bench docs lock clean

help:       ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

setup: .venv/dev.stamp        ## make .venv with everything that development needs

demo: .venv/demo.stamp        ## the main job, seen live: issue, publish, serve, renew
	@$(BIN)/certshelf demo $(ARGS)

check: lint quick             ## what to run before each commit, in under two minutes

lint: .venv/dev.stamp         ## format, style, types, import contracts
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .venv/lint-imports.log 2>&1 || { cat .venv/lint-imports.log; exit 1; }

quick: .venv/dev.stamp        ## the tests that start no servers
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup -m "not slow" $(ARGS) </dev/null

test: packages lint           ## everything, on real servers: what CI runs
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadgroup $(ARGS) </dev/null

packages:   ## the servers that the tests start (apt, when root)
	@tools/apt-packages.sh

format: .venv/dev.stamp       ## format the code
	@$(BIN)/ruff check --quiet --fix-only . ; $(BIN)/ruff format --quiet .

bench: .venv/dev.stamp        ## the figures that the documents quote; never a test
	@for script in bench/[a-z]*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

docs: .venv/dev.stamp         ## build the documents into site/
	@tools/setup.sh docs
	@$(BIN)/zensical build --clean

lock: .tools/stamp            ## choose the versions in constraints.txt anew
	@tools/lock.sh --upgrade

clean:      ## forget everything that was set up
	rm -rf .venv .tools .cache .mypy_cache .ruff_cache .hypothesis site dist build

.tools/stamp: tools/setup.sh
	@tools/setup.sh tools

.venv/demo.stamp: $(INPUTS) | .tools/stamp
	@tools/setup.sh demo manager

.venv/dev.stamp: $(INPUTS) | .tools/stamp
	@tools/setup.sh dev $(EXTRAS)

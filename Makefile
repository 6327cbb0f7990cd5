# Needs make and a Python of at least 3.11; the rest is installed into virtual environments in this directory.
#     make test PYTHON=python3.13 VENV=.venv-3.13     another Python, in an environment of its own

# The first Python that is new enough and really starts: a shim may be there and fail.
ifndef PYTHON
PYTHON := $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	if "$$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then command -v "$$name"; break; fi; done)
endif
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# Many tests wait for processes or for the disk, so several run at once, each process of them with a server of its own.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# Each stamp says that the environment holds what pyproject.toml asked for when the stamp was made.
PACKAGE := $(VENV)/.installed
DEMONSTRATING := $(VENV)/.installed-demo
TESTING := $(VENV)/.installed-test
DEVELOPMENT := $(VENV)/.installed-dev
BENCHMARKING := $(VENV)/.installed-bench
BROWSING := $(VENV)/.installed-browser

.PHONY: help demo demo-postgres test check check-mypy check-basedpyright check-style test-versions test-one-version test-integrations test-one-integration test-long test-browser mutants bench bench-postgres bench-faults bench-latencies soak clean distclean

help: ## print this
	@awk -F ' *## *' '/^[a-z-]+:.*##/ { sub(/:.*/, "", $$1); printf "make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(PACKAGE) ## watch a workflow being killed and going on
	$(BIN)/everlog demo

demo-postgres: $(DEMONSTRATING) ## the same with three processes on Postgres, or on URL=postgresql://...
	$(BIN)/python -m tests.tools.demo_postgres $(if $(URL),'$(URL)')

test: check ## check, then all tests, with the Python at hand
	$(PYTEST)

check: $(DEVELOPMENT) ## format, lint, types, imports
	@$(MAKE) --no-print-directory --jobs 2 check-mypy check-basedpyright check-style

check-mypy: $(DEVELOPMENT)
	$(BIN)/mypy --no-error-summary

check-basedpyright: $(DEVELOPMENT)
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# The cache of lint-imports is off: it keeps an import as it was resolved when the other module was not there yet.
check-style: $(DEVELOPMENT)
	$(BIN)/ruff format --quiet --check .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports --no-logo --no-cache

test-versions: $(DEVELOPMENT) ## the tests, and the replay of each other's histories, with every other Python found here
	@others="$$($(BIN)/python tests/tools/other_pythons.py)" && pythons="" && \
	for other in $$others; do \
		environment=".venv-$${other%%=*}"; \
		$(MAKE) --no-print-directory VENV="$$environment" PYTHON="$${other#*=}" test-one-version || exit 1; \
		pythons="$$pythons:$$PWD/$$environment/bin/python"; \
	done && \
	if [ -d tests/versions ]; then EVERLOG_OTHER_PYTHONS="$${pythons#:}" $(BIN)/python -m pytest -m versions; fi

test-one-version: $(TESTING)
	$(BIN)/python --version
	$(PYTEST) $(wildcard tests/unit tests/property tests/golden)

# Each framework is big, so they are in an environment of their own, and at both ends of the versions that we work with.
test-integrations: ## the tests of the integrations, with the newest and the oldest version of each framework
	@$(MAKE) --no-print-directory VENV=.venv-integrations PYTHON="$(PYTHON)" EXTRA=pydantic-ai test-one-integration
	@$(MAKE) --no-print-directory VENV=.venv-integrations-oldest PYTHON="$(PYTHON)" EXTRA=pydantic-ai \
		OLDEST=pydantic-ai-slim==2.36.0 test-one-integration

test-one-integration: $(TESTING)
	$(PIP) install --upgrade --upgrade-strategy eager -e ".[$(EXTRA)]" $(OLDEST) mypy
	$(if $(OLDEST),,$(BIN)/mypy --no-error-summary engine/everlog/integrations/pydantic_ai/*.py)
	$(PYTEST) tests/integrations

test-long: $(DEVELOPMENT) ## all tests, with many more examples of every property (takes long)
	EVERLOG_LONG=1 $(PYTEST) -m "not versions and not browser"

# Needs Chromium and its driver (Debian: chromium, chromium-driver), and npm for the rules of axe-core; what is not there is skipped.
test-browser: $(BROWSING) ## the inspector in a real Chromium; PICTURES=1 takes the pictures of its page anew
	-npm install --silent --no-audit --no-fund --no-save --prefix $(VENV)/axe axe-core@4
	EVERLOG_AXE=$(VENV)/axe/node_modules/axe-core/axe.min.js EVERLOG_PICTURES=$(PICTURES) \
		$(BIN)/python -m pytest -m browser -rs tests/browser

soak: $(DEVELOPMENT) ## everything at once under random faults, on both databases (an hour, or MINUTES=...)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) $(if $(STORE),--store $(STORE))

mutants: $(DEVELOPMENT) ## whether the kit for stores notices more than a hundred defects (takes minutes)
	$(BIN)/python -m tests.mutants

bench: $(BENCHMARKING) ## the benchmarks
	$(BIN)/python -m benchmarks

bench-postgres: $(BENCHMARKING) ## the benchmarks on Postgres
	$(BIN)/python -m benchmarks.postgres

bench-latencies: $(DEVELOPMENT) ## how long it takes until a workflow begins and a message is received
	$(BIN)/python -m benchmarks.latencies

bench-faults: $(DEVELOPMENT) ## the speed on Postgres before and after faults of the server (takes twenty minutes)
	$(BIN)/python -m benchmarks.faults

clean: ## remove caches and what was built
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find engine backends tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also remove the virtual environments
	rm -rf .venv .venv-*

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python of at least 3.11 was found: install one, or say make PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(PACKAGE): pyproject.toml | $(BIN)/python
	$(PIP) install -e .
	@touch $@

$(DEMONSTRATING): pyproject.toml | $(BIN)/python
	$(PIP) install -e ".[demo]"
	@touch $@ $(PACKAGE)

$(TESTING): pyproject.toml | $(BIN)/python
	$(PIP) install -e ".[test]"
	@touch $@ $(PACKAGE)

$(DEVELOPMENT): pyproject.toml | $(BIN)/python
	$(PIP) install -e ".[dev]"
	@touch $@ $(TESTING) $(DEMONSTRATING) $(PACKAGE)

$(BROWSING): pyproject.toml | $(BIN)/python
	$(PIP) install -e ".[browser]"
	@touch $@ $(TESTING) $(PACKAGE)

$(BENCHMARKING): pyproject.toml | $(BIN)/python
	$(PIP) install -e ".[bench]"
	@touch $@ $(PACKAGE)

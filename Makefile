# Every target sets up what it needs in .venv, from nothing but Python >= 3.11 and make,
# and does nothing when all is there. Pass options on with ARGS: make demo ARGS="--seed 7".

VENV ?= .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet install
ARGS ?=

# pyright asks nobody for a newer version of itself.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench chaos lock lint-only lint-ruff lint-format lint-imports lint-tidy clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# `--database postgresql:embedded` needs a server and drivers (80 MB), `--transport kafka:embedded` a Java, jars and a
# client (250 MB); a bare demo does not wait for them.
demo: $(VENV)/.run-ready $(foreach server,postgresql kafka,$(if $(findstring $(server),$(ARGS)),$(VENV)/.$(server)-ready)) ## run the shop twice, by events and by a chain of calls, through an outage
	@$(VENV)/bin/eventseam demo $(ARGS)

test: $(VENV)/.dev-ready $(VENV)/.kafka-ready ## run all tests; with CI set, a skipped test fails the run
	@$(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

lint: $(VENV)/.dev-ready ## style, format, import layers, and the rules that linters lack
	@$(MAKE) --keep-going lint-only

types: $(VENV)/.dev-ready ## mypy and pyright, both strict
	@$(PY) -m mypy $(wildcard src tests/typing)
	@$(PY) -m pyright

bench: $(VENV)/.bench-ready ## measure against raw floors and peers; writes bench/results/
	@$(PY) -m bench $(ARGS)

chaos: $(VENV)/.dev-ready ## kill -9 the demo at random moments and compare the totals
	@$(PY) -m tests.chaos $(ARGS)

lock: ## write the requirements*.lock files again (needs uv)
	@sh -eu -c 'uv=$$(command -v uv || command -v $(VENV)/bin/uv) || { \
	  echo "make lock needs uv: $(PIP) uv" >&2; exit 1; }; \
	  compile="$$uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-annotate --quiet"; \
	  $$compile --group dev -o requirements.lock; \
	  $$compile --group bench -c requirements.lock -o requirements-bench.lock; \
	  $$compile --group kafka -c requirements.lock -o requirements-kafka.lock; \
	  $$compile --extra postgresql --group postgresql-server -c requirements.lock -o requirements-postgresql.lock; \
	  $$compile --group build -c requirements.lock -o requirements-run.lock'

clean: ## remove .venv and the caches of tools
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# -- lint without set-up: tests/test_lint_bites.py runs it on a copy with a planted violation --

lint-only: lint-ruff lint-format lint-imports lint-tidy

lint-ruff:
	@$(PY) -m ruff check --quiet .

lint-format:
	@$(PY) -m ruff format --quiet --check .

lint-imports:
	@PYTHONPATH=src $(PY) -c 'from importlinter.cli import lint_imports_command as main; main()' --no-cache

lint-tidy:
	@$(PY) -m pytest -q -p no:randomly -p no:cacheprovider tests/test_tidy.py

# -- set-up: one stamp for each set of locked requirements --

$(VENV)/.python:
	@sh -eu -c 'for python in python3.13 python3.12 python3.11 python3; do \
	  if $$python -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; then \
	    echo "setting up $(VENV) with $$($$python --version)"; \
	    [ -x $(PY) ] && $(PY) -m pip --version >/dev/null 2>&1 || $$python -m venv --clear $(VENV); \
	    touch $@; exit 0; \
	  fi; \
	done; \
	echo "make: no Python >= 3.11 with venv and pip found (tried python3.13, python3.12, python3.11, python3)." >&2; \
	echo "Install one (on Debian and Ubuntu also the package python3-venv) and run make again." >&2; exit 1'

$(VENV)/.run-ready: requirements-run.lock pyproject.toml | $(VENV)/.python
	@$(PIP) --require-hashes -r requirements-run.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev-ready: requirements.lock $(VENV)/.run-ready
	@$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.postgresql-ready: requirements-postgresql.lock $(VENV)/.run-ready
	@$(PIP) --require-hashes -r requirements-postgresql.lock
	@touch $@

# The jars are fetched here, once, and not while the first test that wants a broker waits.
$(VENV)/.kafka-ready: requirements-kafka.lock src/eventseam/testing/kafka_jars.txt $(VENV)/.run-ready
	@$(PIP) --require-hashes -r requirements-kafka.lock
	@$(PY) -c 'from eventseam.testing.kafka import prepare; prepare()'
	@touch $@

$(VENV)/.bench-ready: requirements-bench.lock $(VENV)/.run-ready
	@$(PIP) --require-hashes -r requirements-bench.lock
	@touch $@

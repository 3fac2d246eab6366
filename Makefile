# Needs Debian's python3 (3.11 or newer, with python3-venv) and make; everything else goes into $(VENV).
# constraints.txt pins the tested build: without it pip would fetch the newest torch and several GB of CUDA.

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin
# One thread each, so that two test workers do not fight over the cores; what was compiled is kept for the next run.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check types fast clean
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: $(READY)  ## train a small model from nothing and try it; the result is in demo/
	$(RUN)/python examples/digits.py --out demo

test: $(READY)  ## the fast tests
	$(PYTEST)

test-all: $(READY)  ## the slow tests too
	$(PYTEST) -m "not gpu"

check: $(READY)  ## format, lint, types, floors, fast tests with the ten slowest: what a change must pass
	$(RUN)/ruff format --check
	$(RUN)/ruff check
	$(RUN)/lint-imports
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types fast

types: $(READY)
	$(RUN)/pyright --pythonpath $(RUN)/python

fast: $(READY)
	$(PYTEST) --durations=10 -m "not slow and not gpu and not journey"

clean:  ## remove .venv, demo/ and everything generated; runs/ stays
	rm -rf .venv demo build dist .hypothesis .pytest_cache .ruff_cache .import_linter_cache
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "seesay needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing);" \
	         "name another one with: make PYTHON=/path/to/python3.11"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make environments; install them with: apt install python3-venv"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
	@touch $@

# Needs Debian's python3 (3.11 or newer, with python3-venv) and make; everything else goes into $(VENV).
# constraints.txt pins the tested build, each file by its SHA-256. torch is its CPU build where pip is given an index or a
# folder that has it (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS), and PyPI's own with several GB of CUDA where it is not.

PYTHON ?= python3
VENV ?= .venv
READY := $(VENV)/.ready
RUN := $(VENV)/bin
TOOLS ?= .tools
# Nothing is built from source and nothing is installed that no lock file names.
INSTALL := -m pip install --quiet --disable-pip-version-check --no-deps
LOCKED := $(INSTALL) --require-hashes --only-binary :all:
# One thread each, so that two test workers do not fight over the cores; what was compiled is kept for the next run.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN)/python -m pytest -n 2 --dist worksteal
# Files of `make check` lie in memory where 2 GB of it are given to files, and are gone with their test: nothing waits for
# a disk. `make test` has the same tests write to the disk, as users do.
IN_MEMORY := $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'END { print $$4 }')" -gt 2000000 2>/dev/null && \
    test -w /dev/shm && echo PYTEST_DEBUG_TEMPROOT=/dev/shm)

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check types fast docs docs-serve lock audit sbom clean
.DELETE_ON_ERROR:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

demo: $(READY)  ## train a small model from nothing and try it; the result is in demo/
	$(RUN)/python examples/digits.py --out demo
	@echo; echo "To go on:  . $(VENV)/bin/activate"; echo "           seesay classify demo/held-out/seven zero one seven \\"
	@echo "             --model demo/run/model --templates 'a handwritten {}'"

test: $(READY)  ## the fast tests
	$(PYTEST)

test-all: $(READY)  ## the slow tests too
	$(PYTEST) -m "not gpu"

check: $(READY)  ## format, lint, types, floors, fast tests with the ten slowest: what a change must pass
	$(RUN)/ruff format --check
	$(RUN)/ruff check
	$(RUN)/lint-imports
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types fast

types: $(READY)  ## pyright on what may have changed since it last passed; all of it without .pyright_passed
	@$(RUN)/python tools/check_types.py

fast: $(READY)
	$(IN_MEMORY) $(PYTEST) -o tmp_path_retention_policy=failed --durations=10 -m "not slow and not gpu and not journey"

docs: $(VENV)/.docs  ## build the site into build/docs/site, without a network; a warning is an error
	$(RUN)/python tools/docs/make_pages.py
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs build --strict --quiet -f build/docs/mkdocs.yml
	@echo "open build/docs/site/index.html"

docs-serve: $(VENV)/.docs  ## show it on http://127.0.0.1:8000; `python tools/docs/make_pages.py` brings it up to date
	$(RUN)/python tools/docs/make_pages.py
	NO_MKDOCS_2_WARNING=1 $(RUN)/mkdocs serve -f build/docs/mkdocs.yml

lock: $(TOOLS)/.ready  ## write constraints.txt and locks/ for what pyproject.toml asks; versions stay (tools/lock.py)
	$(TOOLS)/bin/python tools/lock.py

audit: $(TOOLS)/.ready  ## known vulnerabilities of the locked packages, as PyPI lists them
	@$(TOOLS)/bin/python tools/audit.py

sbom: $(TOOLS)/.ready  ## the bill of materials of a release, CycloneDX, into dist/
	@$(TOOLS)/bin/python tools/sbom.py

clean:  ## remove .venv, .tools, demo/ and everything generated; runs/ stays
	rm -rf .venv .tools demo build dist .hypothesis .pytest_cache .ruff_cache .import_linter_cache .pyright_passed
	find src tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt locks/cpu.txt locks/cuda.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "seesay needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing);" \
	         "name another one with: make PYTHON=/path/to/python3.11"; exit 1; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "'$(PYTHON)' cannot make environments; install them with: apt install python3-venv"; exit 1; } >&2
	$(PYTHON) -m venv $(VENV)
	$(RUN)/python $(LOCKED) -r constraints.txt
	$(RUN)/python $(LOCKED) -r locks/cpu.txt || { echo "no CPU build of torch: taking PyPI's"; \
	    $(RUN)/python $(LOCKED) -r locks/cuda.txt; }
	$(RUN)/python $(INSTALL) --no-build-isolation --editable .
	$(RUN)/python -m pip check
	@touch $@

$(VENV)/.docs: $(READY) locks/docs.txt
	$(RUN)/python $(LOCKED) -r locks/docs.txt
	@touch $@

$(TOOLS)/.ready: locks/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python $(LOCKED) -r locks/tools.txt
	@touch $@

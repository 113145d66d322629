# The commands of README.md; they need Python 3.11 or newer, make and git.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BESIDE ?= .venv-beside
STAMP := $(VENV)/.installed
# How many share the tests (tests/support/sharing.py); 0: one after the other, in one process.
WORKERS ?= 2
ONLY ?=
MINUTES ?= 3
SEED ?=
ARGS ?=
SOURCES := shared services tests examples bench deploy migrations reference

.PHONY: compose-test help install lint types contracts test docs demo bench bench-beside properties soak clean

help: ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

install: $(STAMP) ## Create the virtual environment with everything in it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Stepwire needs Python 3.11 or newer; say which with: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

lint: $(STAMP) ## Check style and format
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)

types: $(STAMP) ## Check types
	$(BIN)/mypy

contracts: $(STAMP) ## Check which room imports which
	$(BIN)/lint-imports

test: lint types contracts ## Run all checks and all tests, with a real PostgreSQL and a real Kafka
	$(BIN)/python -m pytest --numprocesses $(WORKERS) $(ARGS)

docs: $(STAMP) ## Build the documentation into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Read site/index.html."

demo: $(STAMP) ## Provision network nodes, kill the executor meanwhile, and prove that nothing is lost or done twice
	@$(BIN)/python -m examples.node.demo $(ARGS)

bench: $(STAMP) ## Measure; ONLY=w1,w2 runs some
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(ARGS)

bench-beside: $(STAMP) ## Measure beside another engine, in turns, as ratios; DBOS in an environment of its own
	@test -x $(BESIDE)/bin/python || $(PYTHON) -m venv $(BESIDE)
	@$(BESIDE)/bin/python -m pip install --quiet --disable-pip-version-check 'dbos==3.4.0'
	@$(BIN)/python -m bench.beside $(BESIDE)/bin/python $(ARGS)

compose-test: ## Build the images, play the main job in containers, kill one meanwhile, and remove everything (needs Docker)
	@$(PYTHON) deploy/compose_test.py

properties: $(STAMP) ## Run the property tests with many more examples
	STEPWIRE_TEST_EXAMPLES=50000 STEPWIRE_PROPERTIES_EXAMPLES=50000 $(BIN)/python -m pytest -k 'propert or machine' --timeout 7200 tests/process tests/flow $(ARGS)

soak: $(STAMP) ## Kill, freeze and cut off everything at random for MINUTES=3, and prove that nothing is lost; SEED=1 repeats one
	STEPWIRE_TEST_MINUTES=$(MINUTES) STEPWIRE_TEST_SEED=$(SEED) $(BIN)/python -m pytest -m soak --reruns 0 tests/faults/test_soak.py $(ARGS)

clean: ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) $(BESIDE) site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

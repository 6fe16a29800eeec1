# `make demo` and `make test` need a Linux machine with python3 (3.11 or newer) and nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo test lint types layers unit snippets docs lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

help:
	@echo "make demo   install, judge a real study, train on made images; ends with a report"
	@echo "make test   install all, then lint, types, layers, tests, documentation"
	@echo "make docs   the documentation as a site, in site/"
	@echo "make lock   write requirements.lock anew from pyproject.toml"

# One environment for both, with the versions of the lock; `demo` takes the part that it needs. Each
# stamp depends on what is installed.
$(VENV)/.demo: requirements.lock pyproject.toml tools/install.sh
	@PYTHON=$(PYTHON) sh tools/install.sh demo $(VENV)
	@touch $@

$(VENV)/.all: requirements.lock pyproject.toml tools/install.sh
	@PYTHON=$(PYTHON) sh tools/install.sh all $(VENV)
	@touch $(VENV)/.demo $@

demo: $(VENV)/.demo
	@$(BIN)/harmoseg demo --out demo

test: lint types layers unit snippets

lint: $(VENV)/.all
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.all
	$(BIN)/mypy

layers: $(VENV)/.all
	$(BIN)/lint-imports

# Tests work on tiny tensors, for which a team of threads costs more than it gives; two processes
# share the tests, each in the order of the files, so that what a file prepares is made once. Those
# that start further processes need the bytecode: without it, an import of PyTorch takes seconds more.
PYTEST := OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000 PYTHONDONTWRITEBYTECODE= \
  $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

unit: $(VENV)/.all
	$(PYTEST) --ignore tests/documentation

# What the README and docs tell people to type is run as written.
snippets: $(VENV)/.all
	$(PYTEST) tests/documentation

docs: $(VENV)/.all
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

lock: $(VENV)/.all
	$(BIN)/python tools/write_lock.py $(BIN)/uv

clean:
	rm -rf $(VENV) .uv demo build dist site src/*.egg-info

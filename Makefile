# `make demo` and `make test` need a Linux machine with python3 (3.11 or newer) and nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo test lint types layers unit snippets lock clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

help:
	@echo "make demo   compare two methods on made images, a few minutes; ends with a report"
	@echo "make test   lint, types, layers, tests, documentation snippets"
	@echo "make lock   write requirements.lock anew from pyproject.toml"

# One environment for both, with the versions of the lock. The stamp depends on what is installed.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("harmoseg needs Python 3.11 or newer, found " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: $(VENV)/.installed
	$(BIN)/harmoseg demo --out demo

test: lint types layers unit snippets

lint: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed
	$(BIN)/mypy

layers: $(VENV)/.installed
	$(BIN)/lint-imports

# Tests work on tiny tensors, for which a team of threads costs more than it gives.
unit: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore tests/documentation

# What the README and docs tell people to type is run as written.
snippets: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/documentation

lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --editable '.[dev]'
	$(PYTHON) tools/write_lock.py $(VENV)-lock/bin/python > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info

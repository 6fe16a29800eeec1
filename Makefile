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

# Tests work on tiny tensors, for which a team of threads costs more than it gives; two processes
# share the tests, each in the order of the files, so that what a file prepares is made once. Those
# that start further processes need the bytecode: without it, an import of PyTorch takes seconds more.
PYTEST := OMP_NUM_THREADS=1 GOMP_SPINCOUNT=1000 PYTHONDONTWRITEBYTECODE= \
  $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

unit: $(VENV)/.installed
	$(PYTEST) --ignore tests/documentation

# What the README and docs tell people to type is run as written.
snippets: $(VENV)/.installed
	$(PYTEST) tests/documentation

lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --editable '.[dev]'
	$(PYTHON) tools/write_lock.py $(VENV)-lock/bin/python > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info

# Everything runs in .venv, which is built on first use; nothing else needs installing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# pip compiles one file after the other, and the packages' own tests, too: minutes of one core.
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests?/|/(mlflow|databricks)/' $(VENV)/lib || true  # templates fail

# Hundreds of processes import our packages, which each would compile anew.
export PYTHONDONTWRITEBYTECODE :=

# Those that need neither data, nor a run, nor another interpreter.
BENCHMARKS := decoders prepare delivery training allocator concurrency in_ray features overhead kill_drill

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-nodes check lint bench gpu clean
# A file's tests share its fixtures, and a process's its Ray cluster; conftest.py has the long first.
# One that dies ends the tests: the rest would be dealt out anew, which pytest-xdist may hang in.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder \
	--max-worker-restart 0


help:
	@echo "make demo    the main job on synthetic faces, in a few minutes: data, sweep, report"
	@echo "make test    the tests, but for those that take minutes"
	@echo "make test-nodes  those that start clusters of several nodes, in some ten minutes"
	@echo "make check   what CI runs: ruff, mypy --strict, import-linter and all tests"
	@echo "make bench   the benchmarks behind the figures in docs/"
	@echo "make gpu     the tests and benchmarks that need a GPU, as far as eight minutes go"

demo: $(VENV)/.installed
	@rm -rf demo
	$(BIN)/fairfront demo --out demo

test: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow and not nodes"

test-all: $(VENV)/.installed-dev
	$(PYTEST) -m "not nodes"

test-nodes: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m nodes

check: lint test-all

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit 1; done

gpu: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/gpu.py

clean:
	rm -rf $(VENV) demo build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("fairfront needs Python 3.11 or newer: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing fairfront into $(VENV) (a minute or two; PyTorch is large) ..."
	@$(PIP) --editable .
	@$(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing fairfront and its tools into $(VENV) (some minutes; PyTorch is large) ..."
	@$(PIP) --editable '.[dev]'
	@$(COMPILE)
	@touch $(VENV)/.installed $@

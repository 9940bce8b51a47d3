# Everything runs from a fresh clone with Python 3.11 or newer, make and a package index.
#   make demo    upscale the pictures in examples/ and print what was measured
#   make test    run the tests
#   make check   lint, format and types
#   make bench   measure the CPU figures of the README again, into benchmarks/results/
# PIP_ARGS is handed to every pip install (an index, a proxy, --find-links ...).

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

.PHONY: demo test check format bench clean

demo: .venv/demo.stamp
	$(BIN)/python examples/demo.py --out demo

test: .venv/dev.stamp
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev.stamp
	$(BIN)/python benchmarks/cpu.py

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build dist

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/demo.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[cpu,export]'
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e '.[dev,cpu,export,rtx]'
	touch $@

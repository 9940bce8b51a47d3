# Everything runs from a fresh clone with Python 3.11 or newer, make and a package index.
#   make demo    upscale the images in examples/ and print what was measured
#   make test-fast   the tests that are marked neither slow nor slowest
#   make test        all but the slowest; with 'make check', what must pass before a change lands
#   make test-all    every test
#   make check   lint, format and types
#   make fuzz    FUZZ_CASES damaged files of each format through the decoder, from FUZZ_FIRST on, and
#                a hundredth as many with damaged EXIF, and of 0xFF bytes (1,000 each)
#   make lock    write requirements/*.txt again, after constraints.txt or pyproject.toml changed
#   make bench   measure the CPU figures of the README again, into benchmarks/results/
# With a CUDA device, in .venv if there is one and else with PYTHON as it is:
#   make test-gpu    run the tests that need it and say which engines really ran, on what
#   make bench-gpu   measure it, into benchmarks/results/
#   make gpu-packages   a folder of what both need besides, to carry to a machine without an index
# PIP_ARGS is handed to every pip install (an index, a proxy, --find-links ...).

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
# One worker for each core.
PYTEST := $(BIN)/python -m pytest -n auto --dist worksteal
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

# On a machine with a GPU and no package index, what is installed there has to do.
HERE := $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

.PHONY: demo test test-fast test-all test-gpu check format lock bench bench-gpu gpu-packages clean fuzz

demo: .venv/demo.stamp
	$(BIN)/python examples/demo.py --out demo

test-fast: .venv/dev.stamp
	$(PYTEST) -m "not slow and not slowest" $(PYTEST_ARGS)

test: .venv/dev.stamp
	$(PYTEST) -m "not slowest" $(PYTEST_ARGS)

test-all: .venv/dev.stamp
	$(PYTEST) $(PYTEST_ARGS)

fuzz: .venv/dev.stamp
	FUZZ_CASES=$${FUZZ_CASES:-100000} $(BIN)/python -m pytest tests/images/test_fuzz.py

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev.stamp
	$(BIN)/python benchmarks/cpu.py

test-gpu:
	PYTHONPATH=.:tests:gpu-packages $(HERE) -m pytest -m gpu -rs tests/gpu $(PYTEST_ARGS)

bench-gpu:
	PYTHONPATH=.:gpu-packages $(HERE) benchmarks/gpu.py $(BENCH_ARGS)

# What PyTorch, onnx and typer do not bring along. They are the same for every Python from 3.11 on.
gpu-packages:
	$(PYTHON) -m pip install $(PIP_ARGS) -c constraints.txt --no-deps --only-binary :all: \
		--target gpu-packages platformdirs onnxscript onnx-ir safetensors

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build dist gpu-packages

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

# First everything that has a hash; then PyTorch, whose wheels differ by index, and this package.
.venv/demo.stamp: pyproject.toml constraints.txt requirements/demo.txt | .venv/bin/python
	$(PIP) --require-hashes --no-deps -r requirements/demo.txt
	$(PIP) -c constraints.txt --no-build-isolation -e '.[cpu,export]'
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt requirements/dev.txt | .venv/bin/python
	$(PIP) --require-hashes --no-deps -r requirements/dev.txt
	$(PIP) -c constraints.txt --no-build-isolation -e '.[dev,cpu,export,rtx]'
	touch $@

# Needs uv. What it resolves is configured in pyproject.toml.
LOCK := uv pip compile --quiet --constraints constraints.txt pyproject.toml requirements/build.in

lock:
	$(LOCK) --extra cpu --extra export --output-file requirements/demo.txt
	$(LOCK) --extra cpu --extra export --extra rtx --extra dev --output-file requirements/dev.txt

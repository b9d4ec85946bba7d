# The names people type. `make setup` is skipped when .venv is newer than what it is made from.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.ready

DATASET ?= simulated
SOURCE ?=
PROFILE ?=
SEED ?= 0
# As they were typed: what Make would read in them stays text, and the shell takes them from the environment as data.
override DATASET := $(value DATASET)
override SOURCE := $(value SOURCE)
override PROFILE := $(value PROFILE)
override SEED := $(value SEED)
export DATASET SOURCE PROFILE SEED
STUDY = --dataset="$$DATASET" $${SOURCE:+--source="$$SOURCE"} $${PROFILE:+--profile="$$PROFILE"} --seed="$$SEED"

.PHONY: help setup test test-slow report pdf experiments bench check lint format clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: $(STAMP)  ## make .venv with the locked environment and the command scoehr

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "scoehr needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	touch $(STAMP)

test: $(STAMP)  ## run the test suite
	@command -v chromium chromium-browser google-chrome >/dev/null || echo "No Chromium here: the tests that look at the built pages are skipped (Debian: apt-get install chromium chromium-driver)."
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(STAMP)  ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

report: $(STAMP)  ## make the whole book: DATASET=, SOURCE=, PROFILE=, SEED=
	$(BIN)/scoehr report $(STUDY)

pdf: $(STAMP)  ## print the book that `make report` made as one PDF, by Chromium
	$(BIN)/scoehr pdf $(STUDY)

experiments: $(STAMP)  ## make every run of every table, at all random seeds: DATASET=, SOURCE=, PROFILE=, SEED=
	$(BIN)/scoehr experiments $(STUDY)

bench: $(STAMP)  ## speed beside the reported code: reading, training, sampling, scores, attacks; growth with size; memory
	$(BIN)/python -m benchmarks.read_tables
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.attack
	$(BIN)/python -m benchmarks.memory

check: $(STAMP)  ## look for what must not be published in book/, saved_models/ and synthetic_data/
	$(BIN)/scoehr check

lint: $(STAMP)  ## formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## mend formatting and what can be mended of style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove caches and work in progress; runs, samples and .venv stay
	rm -rf build logs .pytest_cache .ruff_cache .mypy_cache .hypothesis .snakemake *.egg-info

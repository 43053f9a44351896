# `make` alone lists the commands. Each one sets up the environment first if it is not there.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export NO_ALBUMENTATIONS_UPDATE := 1
unexport PYTHONDONTWRITEBYTECODE # each stage is a process: without .pyc files it compiles torch and timm anew, 5 seconds of it

.DEFAULT_GOAL := help
.PHONY: help setup repro study test test-long lint lab bench notebooks book clean

help: ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] < (3, 13) else "Python 3.11 or 3.12 is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

setup: $(VENV)/installed ## make the environment in .venv from requirements.lock (hashes checked)

repro: setup ## run the pipeline at the scale that params.yaml names: data, trainings, notebooks, one a core
	@$(BIN)/python -m dfrepro repair
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m dfrepro repro

study: setup ## the full grid with five seeds, into results/study/ (hours; killed, it goes on where it was)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m dfrepro study

test: setup lint ## lint, unit tests, and every notebook at smoke scale under nbval
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m "not long" tests --nbval --nbval-current-env --nbval-cell-timeout 600 notebooks

test-long: setup ## the long forms: kills, fuzzing, mutation
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest -m long tests --timeout 7200

lint: setup ## ruff (format and lint, notebooks included) and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

lab: setup ## open JupyterLab on the notebooks
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/jupyter lab notebooks

bench: setup ## measure speed as ratios within one run; writes results/bench.json and docs/tables/performance.csv
	$(BIN)/python -m bench

notebooks: setup ## copy the outputs of the executed notebooks into notebooks/
	$(BIN)/python -m dfrepro notebook --publish

lock: setup ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate --quiet --output-file requirements.lock

book: setup ## render notebooks, docs and API reference to build/book/index.html (nothing is executed)
	$(BIN)/sphinx-build -q --keep-going -b html docs build/book
	$(BIN)/python docs/links.py build/book
	@echo "open build/book/index.html"

clean: ## remove what the pipeline made (the DVC cache stays)
	rm -rf artifacts build .pytest_cache .ruff_cache .mypy_cache

# Everything a person or CI runs; `make help` lists it. PORT and OUT are handed to the demo.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/sample
PORT ?= 8080

.PHONY: help install demo test test-slow test-all check format lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## make .venv from the lock

$(VENV)/.installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# torch first, alone: the lock's other packages must not choose another build of it
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: install ## the whole line on the simulated world, then ask the service (OUT=folder PORT=number)
	$(BIN)/python -m pipelines.demo --out $(OUT) --port $(PORT)

test: install ## the fast tests
	$(BIN)/python -m pytest -q

test-slow: install ## the tests that take longer: whole runs, real data
	$(BIN)/python -m pytest -q -m slow

test-all: test test-slow ## both

check: install ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## pin what pyproject.toml asks for, from a new environment
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --upgrade pip
	build/lock/bin/pip install --quiet "$$(grep -oE 'torch==[0-9.]+' pyproject.toml | head -1)"
	build/lock/bin/pip install --quiet --editable '.[dev]'
	build/lock/bin/pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > requirements.lock

clean: ## remove what was built and run; .venv stays
	rm -rf build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

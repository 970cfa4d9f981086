# Everything a person or CI runs; `make help` lists it. PORT and OUT are handed to the demo.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/sample
# a thread of OpenMP that spins for others on a busy machine keeps them from finishing
export OMP_WAIT_POLICY ?= PASSIVE
PORT ?= 8080
LANES ?= 2

# The images; see the head of Dockerfile for what each argument means. NETWORK=host where containers have none.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' two_tower/_version.py)
VARIANT ?= cpu
TAG ?= $(VERSION)$(if $(filter cuda,$(VARIANT)),-cuda)
NETWORK ?= default
BASE_IMAGE ?= python:3.11-slim-bookworm
BUILD_IMAGE ?= $(BASE_IMAGE)
TORCH_INDEX ?=

.PHONY: help install demo test test-slow test-all test-containers soak images check docs format lock clean

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
	$(BIN)/python -m pipelines.cli.demo --out $(OUT) --port $(PORT)

test: install ## the fast tests
	$(BIN)/python -m pytest -q

test-slow: install ## the tests that take longer: whole runs, real data (LANES=how many at a time)
	$(BIN)/python -m pytest -q -m slow -n $(LANES) --dist loadfile

test-all: test test-slow ## both

soak: install ## load while releases change and Redis dies (needs redis-server; QUICK=--quick for the short form)
	$(BIN)/python -m benchmarks.soak $(QUICK)

images: ## build the images data, train and serving, their bills of materials to build/sbom (VARIANT=cpu|cuda)
	@mkdir -p build/sbom
	for stage in data train serving; do \
		docker build --network $(NETWORK) --target $$stage --tag two-tower-$$stage:$(TAG) \
			--build-arg BASE_IMAGE=$(BASE_IMAGE) --build-arg BUILD_IMAGE=$(BUILD_IMAGE) \
			--build-arg VARIANT=$(VARIANT) --build-arg TORCH_INDEX=$(TORCH_INDEX) \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) . && \
		docker run --rm --network none --entrypoint cat two-tower-$$stage:$(TAG) /sbom.json \
			> build/sbom/two-tower-$$stage-$(TAG).cdx.json || exit 1; \
	done
	docker image ls --filter reference='two-tower-*:$(TAG)' --format '{{.Repository}}:{{.Tag}}\t{{.Size}}'

test-containers: install ## the line in its images, and the service on what it released; needs `make images`
	$(BIN)/python -m pytest -q -m containers --durations=8

check: install ## format, lint, types, import rules, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir build/site

docs: install ## the documentation as a site in build/site, served on port 8000 while one edits it
	$(BIN)/mkdocs serve

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

# Every command that a person or CI runs; `make help` lists them. `make demo` passes PORT and OUT to the demo.
PYTHON ?= python3.11
# each other interpreter has an environment of its own: make test PYTHON=python3.13
VENV := .venv$(if $(filter-out python3.11,$(PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
OUT ?= runs/sample
# On a busy machine, an OpenMP thread that spins while it waits keeps the others from finishing.
export OMP_WAIT_POLICY ?= PASSIVE
PORT ?= 8080
LANES ?= 2
PIP := 26.3

# The images; the head of Dockerfile explains each argument. NETWORK=host where containers have no network.
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' two_tower/_version.py)
VARIANT ?= cpu
TAG ?= $(VERSION)$(if $(filter cuda,$(VARIANT)),-cuda)
NETWORK ?= default
BASE_IMAGE ?= python:3.11-slim-bookworm
BUILD_IMAGE ?= $(BASE_IMAGE)
TORCH_INDEX ?=

.PHONY: help install demo test test-slow test-all test-containers soak images check docs format lock hashes audit clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(VENV)/.installed ## make the environment from the lock (PYTHON=python3.11, python3.12 or python3.13)

$(VENV)/.installed: requirements.lock requirements.hashes pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip==$(PIP)
	@# torch first and alone, so that the lock's other packages do not choose another build of it. It has no hash: its
	@# CPU and CUDA builds are different files from different indexes.
	$(BIN)/python -m pip install --quiet "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements.hashes
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: install ## run the pipeline on simulated data, then query the service (OUT=folder PORT=number)
	$(BIN)/python -m pipelines.cli.demo --out $(OUT) --port $(PORT)

test: install ## the fast tests (LANES=number of processes)
	$(BIN)/python -m pytest -q -n $(LANES) --dist loadfile

test-slow: install ## the slow tests: whole runs, real data (LANES=number of processes)
	@# files in the order of tests/conftest.py; by default the files with the fewest tests, the longest ones, come last
	$(BIN)/python -m pytest -q -m slow -n $(LANES) --dist loadfile --no-loadscope-reorder

test-all: test test-slow ## both

soak: install ## load the service while releases change and Redis dies (needs redis-server; QUICK=--quick for the short form)
	$(BIN)/python -m benchmarks.soak $(QUICK)

images: ## build the images data, train and serving, and write their bills of materials to build/sbom (VARIANT=cpu|cuda)
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

test-containers: install ## the pipeline in its images, and the service with the release that it made; needs `make images`
	$(BIN)/python -m pytest -q -m containers --durations=8

check: install ## format, lint, types, import rules, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --site-dir build/site

docs: install ## serve the documentation on port 8000, rebuilt as it is edited
	$(BIN)/mkdocs serve

format: install ## format the code and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## resolve pyproject.toml in a new environment and pin it in requirements.lock
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --upgrade pip
	build/lock/bin/pip install --quiet "$$(grep -oE 'torch==[0-9.]+' pyproject.toml | head -1)"
	build/lock/bin/pip install --quiet --editable '.[dev]'
	build/lock/bin/pip freeze --exclude-editable | sed -E 's/\+cpu$$//' > requirements.lock
	$(MAKE) hashes

# pip reads its indexes from its configuration, uv from INDEXES, such as INDEXES='--extra-index-url URL'.
hashes: ## write requirements.hashes: the lock without torch, with the hashes of all files of each version
	test -x build/uv/bin/uv || { $(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv==0.13.9; }
	grep -v '^torch==' requirements.lock | build/uv/bin/uv --quiet --no-config pip compile - --no-deps --generate-hashes \
		--no-header --no-annotate --index-strategy unsafe-best-match $(INDEXES) --output-file requirements.hashes

OSV := https://api.osv.dev/v1/vulns/PYSEC-2019-41

audit: ## look the locked packages up in OSV's database of known vulnerabilities; needs access to https://api.osv.dev
	@$(PYTHON) -c "import urllib.request as web; web.urlopen('$(OSV)', timeout=20)" 2>/dev/null || \
		{ echo "the database of vulnerabilities is not reachable: $(OSV). Run this where it is." >&2; exit 1; }
	test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit==2.10.1; }
	build/audit/bin/pip-audit --vulnerability-service osv --no-deps --disable-pip --requirement requirements.lock

clean: ## remove build outputs and runs; environments stay
	rm -rf build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Everything a developer runs. Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test check fuzz bench docs lock format clean

install: $(VENV)/.installed ## Make .venv with everything for development

$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "Installing into $(VENV) (about a minute) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@# Compiled once here, so that no first command pays for it.
	@$(BIN)/python -m compileall -q stigmer_config
	@touch $@

demo: install ## Show the main job on real files, in a fresh home
	@$(BIN)/python examples/demo.py

test: install ## Run the tests, in parallel
	@$(BIN)/python -m pytest

check: install ## Types, lint, format, import order
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@for platform in darwin win32; do $(BIN)/mypy --platform $$platform stigmer_config || exit 1; done
	@$(BIN)/basedpyright
	@$(BIN)/python -m pytest -n 0 tests/test_api.py tests/test_imports.py

fuzz: SEED := $(or $(SEED),$(shell od -An -N2 -tu2 /dev/urandom | tr -d " "))
fuzz: install ## Random inputs, and random damage to the files of a live worker, from a new SEED each time (a quarter of an hour)
	@echo "SEED=$(SEED)"
	@$(BIN)/python fuzz/load.py --inputs 100000 --seed $(SEED)
	@STIGMER_FIRST_USE_PROCESSES=300 $(BIN)/python -m pytest tests/core/test_decoding.py -k sixteen
	@STIGMER_FUZZ_SEED=$(SEED) STIGMER_FUZZ_OPS=2500 $(BIN)/python -m pytest tests/live/test_fuzz.py tests/files/watch/test_watcher.py -k random

bench: install ## Measure against the peers (one table of one run; six minutes)
	@$(BIN)/python benchmarks/run.py

docs: install ## Build the site of docs/ into site/, strict about links (`make test` does it, too)
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python benchmarks/draw.py --check
	@$(BIN)/zensical build --strict

lock: ## Pin the dependencies anew (needs uv)
	uv pip compile pyproject.toml --group dev --group bench --all-extras --universal --generate-hashes --no-emit-index-url \
		--python-version 3.11 --custom-compile-command "make lock" -o requirements.lock -q

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Everything a developer runs. Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-matrix check fuzz bench docs lock format clean

# pip's progress, a line for each package; the exit status is pip's own.
define pip-install
{ $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r $(1) \
	|| touch $(VENV)/.failed; } | sed -n 's/^Collecting \([^ ]*\).*/  \1/p'
@if [ -e $(VENV)/.failed ]; then rm $(VENV)/.failed; exit 1; fi
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
@# Compiled once here, so that no first command has to.
@$(BIN)/python -m compileall -q stigmer_config
endef

install: $(VENV)/.installed ## Make .venv with everything for development

$(VENV)/.runtime: requirements-runtime.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Making $(VENV) and installing what stigmer-config runs on ..."
	@$(PYTHON) -m venv $(VENV)
	@$(call pip-install,requirements-runtime.lock)
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing everything for development into $(VENV) (one to two minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(call pip-install,requirements.lock)
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime ## Show the main job on real files, in a fresh home
	@$(BIN)/python examples/demo.py

test: install ## Run the tests, in parallel
	@$(BIN)/python -m pytest

test-matrix: install ## Test what depends on versions: each Python here, the lowest and the locked dependencies
	@$(BIN)/python -m tests.support.versions

check: install ## Types, lint, format, import order
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@for platform in darwin win32; do $(BIN)/mypy --platform $$platform stigmer_config || exit 1; done
	@$(BIN)/basedpyright
	@$(BIN)/python -m pytest -n 0 tests/test_api.py tests/test_imports.py

fuzz: SEED := $(or $(SEED),$(shell od -An -N2 -tu2 /dev/urandom | tr -d " "))
fuzz: install ## Random inputs, and random damage to the files of a live worker, from a new SEED each time (more than an hour)
	@echo "SEED=$(SEED)"
	@$(BIN)/python fuzz/load.py --inputs 100000 --seed $(SEED)
	@$(BIN)/python fuzz/noninterference.py --inputs 100000 --seed $(SEED)
	@$(BIN)/python fuzz/enforced.py --inputs 2000 --seed $(SEED)
	@$(BIN)/python -m pytest --hypothesis-profile=fuzz --hypothesis-seed=$(SEED) tests/config tests/llm tests/loading tests/trust \
		tests/sources/etcd/test_layer.py -m hypothesis
	@STIGMER_FIRST_USE_PROCESSES=300 $(BIN)/python -m pytest tests/core/test_decoding.py -k sixteen
	@STIGMER_FORKS=300 $(BIN)/python -m pytest tests/live/test_forks.py -k storm
	@STIGMER_FUZZ_SEED=$(SEED) STIGMER_FUZZ_OPS=2500 $(BIN)/python -m pytest tests/live/test_fuzz.py tests/files/watch/test_watcher.py -k random
	@STIGMER_FUZZ_SEED=$(SEED) STIGMER_FLEET_CHANGES=20 $(BIN)/python -m pytest tests/sources/etcd/test_fleet.py

bench: install ## Measure against the peers (one table of one run; six minutes)
	@$(BIN)/python benchmarks/run.py

docs: install ## Build the site of docs/ into site/, strict about links (`make test` does it, too)
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/python benchmarks/draw.py --check
	@$(BIN)/python docs/pictures.py --check
	@$(BIN)/python docs/diagrams.py --check
	@$(BIN)/zensical build --strict

LOCK := uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --python-version 3.11 \
	--custom-compile-command "make lock" -q

lock: ## Pin the dependencies anew, the newest and the lowest ones (needs uv)
	$(LOCK) --group dev --group bench --all-extras -o requirements.lock
	$(LOCK) --group build -c requirements.lock -o requirements-runtime.lock
	$(LOCK) --all-extras --no-deps --resolution lowest-direct -o $(VENV)/lowest-direct.txt
	$(LOCK) --group test --all-extras -c $(VENV)/lowest-direct.txt -o requirements-lowest.lock

format: install
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

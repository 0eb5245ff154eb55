# Two commands: `make run` serves, `make test` tests. Both set up what they need, once.
#
#   PORT              where `make run` listens (8000)
#   SIGNET_DATA_DIR   folder of the embedded database and files (var); one folder per installation
#   TESTS, WORKERS    which tests `make test` runs (all) and in how many processes (3: many wait)
#   PYTHON            the Python that makes .venv (python3; 3.11 or newer)

PYTHON ?= python3
PORT ?= 8000
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
MANAGE := $(BIN)/python manage.py
LOCKED := --require-hashes --no-deps
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq $(LOCKED)
# In seconds what takes pip minutes; pip does it where uv cannot. Both compile: a process starts in a third of the time.
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode $(LOCKED)

.DEFAULT_GOAL := help
.PHONY: help run demo test check snapshot bench lock clean

help:
	@echo "make run    set up, load the sample, run it once, serve on http://127.0.0.1:$(PORT)"
	@echo "make demo   the same without serving; the exit status tells"
	@echo "make test   the whole suite"
	@echo "make check  lint, types, layers, migrations, snapshots of the API and the policies"
	@echo "make bench  speed, side by side with the references (benchmarks/)"
	@echo "make lock   compile requirements*.in into hashed locks"
	@echo "make snapshot  write docs/openapi.yaml, docs/schema.graphql, docs/errors.md, docs/policy-matrix.md and tests/graphql_queries.txt anew"
	@echo "make clean  remove .venv and caches; data stays"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Signet needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# uv at the version and hashes of the lock.
$(VENV)/.installer: | $(BIN)/python
	@sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt > $@
	@$(PIP) -r $@ || true

# A stamp is younger than its lock when the lock is installed.
$(VENV)/.installed: requirements.txt | $(VENV)/.installer
	@echo "Installing the locked requirements into $(VENV), once."
	@$(UV) -r $< || $(PIP) -r $<
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@$(UV) -r $< || $(PIP) -r $<
	@touch $@

run: $(VENV)/.installed
	$(MANAGE) migrate --noinput --verbosity 0
	@exec $(MANAGE) serve --port $(PORT)

# A demonstration starts from nothing and leaves nothing, unless a data folder is named.
demo: $(VENV)/.installed
	@if [ -z "$$SIGNET_DATA_DIR" ]; then \
		SIGNET_DATA_DIR=$$(mktemp -d) || exit 1; export SIGNET_DATA_DIR; trap 'rm -rf "$$SIGNET_DATA_DIR"' EXIT; \
	fi; \
	$(MANAGE) migrate --noinput --verbosity 0 && $(MANAGE) demo

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(MANAGE) makemigrations --check --dry-run
	@fresh=$$(mktemp) && trap 'rm -f "$$fresh"' EXIT && \
	$(MANAGE) spectacular --validate --fail-on-warn --file "$$fresh" && \
	diff -u docs/openapi.yaml "$$fresh" || { echo "docs/openapi.yaml is not the API: make snapshot" >&2; exit 1; }
	@$(BIN)/python -m tests.policies | diff -u docs/policy-matrix.md - || { \
		echo "docs/policy-matrix.md is not what the policies are: make snapshot" >&2; exit 1; }

snapshot: $(VENV)/.installed-dev
	$(MANAGE) spectacular --validate --fail-on-warn --file docs/openapi.yaml
	$(MANAGE) graphql_schema --schema config.graphql.schema --out docs/schema.graphql
	$(BIN)/python -m tests.error_codes > docs/errors.md
	$(BIN)/python -m tests.policies > docs/policy-matrix.md
	SIGNET_WRITE_QUERIES=1 $(BIN)/pytest -n 0 -q tests/test_graphql_queries.py

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

lock: $(VENV)/.installed-dev
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --universal --python-version 3.11 --output-file requirements.txt requirements.in
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --universal --python-version 3.11 --output-file requirements-parquet.txt requirements-parquet.in
	$(BIN)/uv pip compile --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url --universal --python-version 3.11 --output-file requirements-dev.txt requirements-dev.in

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache staticfiles
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

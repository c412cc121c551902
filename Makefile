# `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check bench chaos lock clean
.DEFAULT_GOAL := help

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it with PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "The venv could not be made. On Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

setup: $(STAMP) ## Install everything into .venv

demo: $(STAMP) ## One real rollback of a real service; LIVE=1 leaves the clicks to you
	$(BIN)/rollback demo $(if $(LIVE),--live)

check: $(STAMP) ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## Everything above, then the tests with coverage
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --cov --cov-report=term:skip-covered $(ARGS)
	$(BIN)/coverage report --include='bot/domain/*,bot/engine/*' --fail-under=$(CORE_COVERAGE)

bench: $(STAMP) ## Measure, side by side with the plain tools
	$(BIN)/python -m tests.bench

chaos: $(STAMP) ## Five workers under kill -9, freezes and store crashes for five minutes; ARGS="--seed 2"
	$(BIN)/python -m tests.chaos $(ARGS)

lock: $(STAMP) ## Resolve the dependencies anew and lock them with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --extra dev --output-file requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --constraint requirements.lock --output-file deploy/requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-annotate --constraint requirements.lock --output-file deploy/build.lock deploy/build.in

clean: ## Remove what was installed and built; the demo's evidence stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage

WORKERS ?= 3
CORE_COVERAGE ?= 100

# Every chore is one command. `make demo` and `make test` set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test matrix chaos containers breakages lint format bench pins clean
.DEFAULT_GOAL := demo

$(STAMP): requirements/dev.txt pyproject.toml haas_otel/pyproject.toml
	@echo "Making the environment in $(VENV) (some minutes the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e ./haas_otel -e .
	@touch $(STAMP)

demo: $(STAMP) ## a Prefect server, worker and deployments; scan, trace, report
	@$(BIN)/haas demo

test: $(STAMP) ## the whole test suite; TESTS=tests/flows for a part of it
	@$(BIN)/python -m pytest -n auto $(TESTS)

matrix: $(STAMP) ## haas_otel on the oldest and newest of Prefect, OpenTelemetry and Python; CELLS='--short oldest-3.11' for a part
	@$(BIN)/python -m tests.matrix $(CELLS)

chaos: $(STAMP) ## the long forms: 60 runs and 40 encodings killed in every way, long outages
	@HAAS_CHAOS=1 $(BIN)/python -m pytest $$(grep -rlwE 'CHAOS|@given' tests --include='test_*.py' --exclude-dir=containers) -s

breakages: $(STAMP) ## break what each kind of ending relies on, and see its test go red
	@$(BIN)/python -m tests.breakages

containers: $(STAMP) ## the stacks in real containers, by the commands of the pages (needs Docker)
	@HAAS_CONTAINERS=1 $(BIN)/python -m pytest -n0 tests/containers

lint: $(STAMP) ## lint, format check, types, what may import what
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

format: $(STAMP)
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: $(STAMP) ## what the README claims, measured
	@$(BIN)/python -m benchmarks

PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
  --prerelease=if-necessary-or-explicit --no-emit-package haas-otel

pins: ## renew requirements/*.txt from pyproject.toml (needs uv)
	$(PIN) --all-extras pyproject.toml haas_otel/pyproject.toml -o requirements/dev.txt
	$(PIN) --resolution lowest-direct haas_otel/pyproject.toml requirements/tools.in -o requirements/oldest.txt

clean:
	rm -rf $(VENV) .matrix .haas .pytest_cache .mypy_cache .ruff_cache

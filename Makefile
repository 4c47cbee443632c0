# Each target does its own set-up on a machine with nothing but make, bash and Debian's or Ubuntu's Python (3.11 or newer).
# A second run finds its stamps in .venv and starts at once.

SHELL := /bin/bash
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
DATA ?= demo-data
UV ?= uv
FUZZ_SECONDS ?= 60

.PHONY: demo test lint types bench fuzz fault lock migration wheel docs

demo: .venv/.run ## a portal with people and messages in it, on this machine; DATA=dir says where it lives
	$(BIN)/portal demo --data $(DATA)

test: .venv/.dev ## everything CI runs
	.ci/services
	.ci/check

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-logo

types: .venv/.dev
	$(BIN)/mypy

bench: .venv/.dev ## load that also checks what it got back
	$(BIN)/python -m bench

fuzz: .venv/.fuzz ## the property tests with fifty times as many examples; then each parser under atheris for FUZZ_SECONDS
	$(BIN)/pytest -m hypothesis --hypothesis-profile=fuzz
	$(BIN)/python -m tests.fuzz.run $(FUZZ_SECONDS)

fault: .venv/.dev ## the fault tests in their long form: 200 kills, locks beyond every timeout
	FAULT_LONG=1 $(BIN)/pytest -m fault

docs: .venv/.dev ## what the code writes into docs/
	PYTHONPATH=. $(BIN)/python docs/generate.py

migration: .venv/.dev ## a draft of the steps from the newest migration to portal/db/tables.py, on standard output
	@PYTHONPATH=. $(BIN)/python tests/migrations/draft.py

wheel: .venv/.run
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

lock: ## the newest packages that pyproject.toml allows; needs uv
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --no-header --no-dev --no-emit-project --output-file requirements.lock
	$(UV) export --quiet --no-header --no-emit-project --output-file requirements-dev.lock
	$(UV) export --quiet --no-header --only-group build --output-file build.lock
	$(UV) export --quiet --no-header --only-group fuzz --output-file fuzz.lock

# -- set-up, each step once until what it reads has changed

.venv/.made:
	.ci/venv
	@touch $@

.venv/.run: requirements.lock build.lock pyproject.toml | .venv/.made
	$(PIP) install --require-hashes -r requirements.lock -r build.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements-dev.lock | .venv/.run
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

.venv/.fuzz: fuzz.lock | .venv/.dev
	$(PIP) install --require-hashes -r fuzz.lock
	@touch $@

# callscribe: `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements.lock
DEV_LOCK := requirements-dev.lock
INSTALLER_LOCK := requirements-uv.lock
# Test files that run at a time, each in one process: many wait for servers or for children that are to die.
WORKERS ?= 2
SPREAD := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
# checkov pins many packages to older versions than ours.
CHECKOV := .venv-checkov
CHECKOV_LOCK := requirements-checkov.lock
UV_LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command "make lock"
UV_COMPILE := $(UV_LOCK) pyproject.toml
# Tests start hundreds of processes, and each would compile anew what it imports, where this is set.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test test-faults test-all lint format lock install install-dev models docs work-pools checkov clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Make .venv with the locked dependencies; does nothing when the lock has not changed

install-dev: $(VENV)/.installed-dev ## The same, with the development tools

demo: install ## Everything once, for real: S3 server, models, Prefect, Parquet, SQL, scores
	@$(BIN)/callscribe demo

models: install ## Pull the starter bundle
	@$(BIN)/callscribe models pull starter

test: install-dev ## The fast test suite
	@$(BIN)/callscribe models pull starter
	@$(BIN)/python -m pytest -m "not long" $(SPREAD)

test-faults: install-dev $(CHECKOV)/.installed ## The long tests: faults, scale, browser
	@$(BIN)/callscribe models pull starter
	@$(BIN)/python -m pytest -m long $(SPREAD)

test-all: install-dev $(CHECKOV)/.installed ## Both in one go, which makes once what both need
	@$(BIN)/callscribe models pull starter
	@$(BIN)/python -m pytest $(SPREAD)

lint: install-dev ## Formatter, linters, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: install-dev ## Put the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: install-dev ## Resolve the dependencies anew into the hash-pinned locks
	@$(BIN)/$(UV_COMPILE) --extra demo --extra kubernetes -o $(LOCK)
	@$(BIN)/$(UV_COMPILE) --constraints $(LOCK) --extra dev -o $(DEV_LOCK)
	@$(BIN)/$(UV_LOCK) --constraints $(DEV_LOCK) --group pyproject.toml:installer -o $(INSTALLER_LOCK)
	@$(BIN)/$(UV_LOCK) --group pyproject.toml:checkov -o $(CHECKOV_LOCK)

docs: install-dev ## Write the generated tables of the documentation anew
	@$(BIN)/python -m flows.docs

work-pools: install-dev ## Write the base job templates of k8s/ anew
	@$(BIN)/python k8s/work_pools.py

checkov: install-dev $(CHECKOV)/.installed ## Scan image and manifests for what is unsafe
	@$(BIN)/python -m pytest -q tests/test_checkov.py

clean: ## Remove the environment and what the demo keeps
	@rm -rf $(VENV) $(CHECKOV) .callscribe

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "callscribe needs Python 3.11, 3.12 or 3.13; name it with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "making the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "cannot make $(VENV): on Debian and Ubuntu, install python3-venv"; exit 1; }

$(VENV)/.installed: $(LOCK) pyproject.toml | $(BIN)/python
	@echo "installing the locked dependencies (8 GB: torch brings CUDA; a few minutes)"
	@$(BIN)/python .make/install.py $(LOCK)
	@$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(DEV_LOCK) $(VENV)/.installed
	@echo "installing the development tools"
	@$(BIN)/python .make/install.py $(DEV_LOCK)
	@touch $@

$(CHECKOV)/.installed: $(CHECKOV_LOCK) | $(BIN)/python
	@echo "installing checkov into $(CHECKOV)"
	@$(BIN)/python -m venv $(CHECKOV)
	@$(CHECKOV)/bin/python .make/install.py $(CHECKOV_LOCK)
	@touch $@

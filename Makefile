# Everything a developer runs. `make` alone lists the targets; each makes the environment it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NEEDS  := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format bench bench-peers clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "PYTHON=... chooses the interpreter (3.11 or newer); it is $(PYTHON) now."

demo: $(VENV)/ready ## push, change, diff, check out and verify Python's standard library
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash demo/run.sh

test: $(VENV)/ready-dev ## run the tests, but for the slow ones
	@$(BIN)/pytest -n auto $(ARGS)

test-all: $(VENV)/ready-dev ## run all tests
	@$(BIN)/pytest -n auto -m "" $(ARGS)

lint: $(VENV)/ready-dev ## check style, types and the arrows between modules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/ready-dev ## put the code into its usual form
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(VENV)/ready-dev ## measure dsa against cp and every peer that is installed
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench $(ARGS)

bench-peers: $(VENV)/ready-dev ## the same, with every peer installed first
	@bash bench/peers.sh
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench $(ARGS)

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) .peers build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# The environment: `ready` runs dsa, `ready-dev` also tests and checks it.
$(VENV)/made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: there is no $(PYTHON) here; name a Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1), dsa needs 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "make: $(PYTHON) could not make an environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/ready: $(VENV)/made $(NEEDS)
	@echo "Installing dsa into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/ready-dev: $(VENV)/made $(NEEDS)
	@echo "Installing dsa and what checks it into $(VENV) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(VENV)/ready $@

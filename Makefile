# Everything a fresh clone needs: `make run` and `make test`.

PYTHON ?= python3
MINUTES ?= 10
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check bench simulate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

run: $(READY) ## run the main job on the shipped example
	$(BIN)/python examples/compress_stdlib.py

test: $(READY) ## run the whole test suite (ARGS='-k word' for a part)
	$(BIN)/python -m pytest -n 2 --dist loadgroup $(ARGS)

check: $(READY) ## format, lint, types, changelog fragments, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy src $(wildcard tests/typing/*.py)
	$(BIN)/towncrier build --draft --version next >/dev/null
	$(BIN)/python -m pytest -q tests/test_layers.py

bench: $(READY) ## measure against other tools (ARGS="echo --rounds 3" for a part)
	$(BIN)/python -m benchmarks $(ARGS)

simulate: $(READY) ## the engine under random faults for MINUTES (default 10)
	$(BIN)/python -m tests.simulation.soak --minutes $(MINUTES)

clean: ## remove the environment and everything generated
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# Written last, so an interrupted install starts over.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Arrea needs Python 3.11 or newer, $(PYTHON) is %d.%d: try make PYTHON=python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

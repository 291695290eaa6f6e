# Every target works from a clean checkout with Python 3.11+ and a C compiler; PYTHON=... picks another interpreter.
PYTHON ?= python3
VENV := .venv-dev
BIN := $(VENV)/bin

.PHONY: help build test lint types sanitize fuzz conformance wheel bench clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(BIN)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q 'build>=1.2' 'cython>=3.1' 'setuptools>=77'
	$(BIN)/pip install -q --no-build-isolation -e '.[dev]'
	touch $@

build: $(BIN)/.ready ## compile the extension in place, into an editable install
	$(BIN)/python setup.py -q build_ext --inplace

test: build ## run the tests against the editable install (ARGS=... goes to pytest)
	$(BIN)/python -m pytest $(ARGS)

lint: $(BIN)/.ready ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: build ## mypy --strict, and the stub against the built module
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest hotset._engine hotset._lab hotset._wire --allowlist tests/typing/stubtest-allowlist.txt

sanitize: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer (gcc or clang on Linux)
	PYTHON=$(PYTHON) bash .ci/sanitize $(ARGS)

fuzz: build ## damaged and forged bytes at the decoder (ARGS='seconds seed'; a minute)
	$(BIN)/python tests/tiers/fuzz_wire.py $(ARGS)

conformance: build ## the tests of cachetools and of CPython on our classes
	$(BIN)/python tests/conformance/run.py $(ARGS)

wheel: ## sdist, a wheel from it, and the tests against that wheel with the source out of reach
	PYTHON=$(PYTHON) bash .ci/wheel $(ARGS)

bench: build ## the short benchmark: a table and a picture
	$(BIN)/hotset bench $(ARGS)

clean: ## remove what the targets above made
	rm -rf build dist $(VENV) src/hotset.egg-info src/hotset/_*.so .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

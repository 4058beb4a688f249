# `make help` lists the targets. PYTHON names the interpreter to build the environments with.
PYTHON ?= python3
SERVE := .venv/bin
DEV := .venv-dev/bin
CLUSTER := .venv-cluster/bin
SOURCES := pyproject.toml core/_version.py

.DEFAULT_GOAL := help
.PHONY: help run setup test test-all cluster test-cluster check bench docs structure image requirements python-is-new-enough

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: .venv/installed ## Install what serving needs into .venv, and serve the web page, and the bot where it has a token
	$(SERVE)/tensight web --open

setup: .venv-dev/installed ## Install everything into .venv-dev

# A process takes tests of another only once it has none of its own left: until then the next test
# is a neighbour of the last one, whose servers and models it has already. Three on two cores, as many
# tests wait for servers and clocks.
test: check ## Run every check and every test but the long ones
	$(DEV)/python -m pytest -n 3 --dist worksteal -m "not long"

test-all: check ## Run every check and every test, the long ones too
	$(DEV)/python -m pytest -n 2 --dist worksteal

cluster: .venv-cluster/installed ## Install what Ray replicas need into .venv-cluster

test-cluster: .venv-cluster/installed ## Run the tests of Ray replicas, in an environment of their own
	$(CLUSTER)/python -m pytest tests/core/serving/test_cluster*.py tests/core/cli/test_cluster.py

check: .venv-dev/installed ## Run the linter, the formatter and the type checker
	$(DEV)/ruff format --check .
	$(DEV)/ruff check .
	$(DEV)/mypy

bench: .venv-dev/benched ## Measure speed and memory against others; print ratios
	$(DEV)/python -m bench

docs: .venv-dev/installed ## Write the generated pages and the pictures of the README
	PYTHONPATH=. $(DEV)/python docs/generate.py

structure: .venv-dev/installed ## Print the packages: sizes, longest file and function, imports
	$(DEV)/python -m tests.support.structure

image: ## Build the container image with buildah
	deploy/build-image

requirements: .venv-dev/installed ## Renew the pinned versions in requirements/
	UV=$(DEV)/uv requirements/renew

.venv/installed: requirements/serve.txt $(SOURCES) | python-is-new-enough
	$(PYTHON) -m venv .venv
	$(SERVE)/python -m pip install --quiet --require-hashes -r requirements/serve.txt
	$(SERVE)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv-dev/installed: requirements/dev.txt $(SOURCES) | python-is-new-enough
	$(PYTHON) -m venv .venv-dev
	$(DEV)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(DEV)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv-cluster/installed: requirements/cluster.txt requirements/cluster-tests.txt $(SOURCES) | python-is-new-enough
	$(PYTHON) -m venv .venv-cluster
	$(CLUSTER)/python -m pip install --quiet --require-hashes -r requirements/cluster.txt
	$(CLUSTER)/python -m pip install --quiet --require-hashes -r requirements/cluster-tests.txt
	$(CLUSTER)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.venv-dev/benched: requirements/bench.txt .venv-dev/installed
	$(DEV)/python -m pip install --quiet --require-hashes -r requirements/bench.txt
	touch $@

python-is-new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11. Name a newer one: make PYTHON=python3.12 ..." >&2; exit 1; }

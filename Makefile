# Everything is made in this folder: .venv holds the tools, .ansible the collection's tree, .cache what tests leave.
# `make help` lists the targets. Only test-host needs root, and skips without.

PYTHON ?= python3
# Extra words for pytest, as in: make units PYTEST='-k cpuset'
PYTEST ?=
# Words for the benchmark, as in: make bench BENCH=--quick
BENCH ?=

export LC_ALL := C.UTF-8
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
RUNTIME := $(VENV)/.runtime
TESTING := $(VENV)/.testing
LINTING := $(VENV)/.linting
BENCHING := $(VENV)/.benching

TREE := .ansible/collections/ansible_collections/corepin
LINK := $(TREE)/proxmox

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test units integration test-captures test-long test-host test-host-long bench lint format sanity build clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

setup: $(RUNTIME) $(LINK) ## the environment alone: .venv and the collection's tree

demo: setup ## the main job on a simulated cluster: facts, plan, apply
	@$(BIN)/python tests/lab/demo/run.py

test: $(BENCHING) $(LINK) ## all tests (under 10 minutes)
	@$(BIN)/python tests/tools/run_tests.py

units: $(TESTING) $(LINK) ## the unit tests alone, on the venv's Python
	@$(BIN)/python -m pytest tests/unit $(PYTEST)

integration: $(TESTING) $(LINK) ## the integration tests alone: real ansible-playbook against the lab
	@$(BIN)/python -m pytest tests/integration $(PYTEST)

test-captures: $(TESTING) $(LINK) ## the topology reader against captured trees of real machines
	@$(BIN)/python tests/tools/run_tests.py captures

test-long: export COREPIN_LONG := 1
test-long: $(BENCHING) $(LINK) ## all tests with full counts, and the slow ones
	@$(BIN)/python tests/tools/run_tests.py

test-host: $(TESTING) $(LINK) ## the suite on a host with a kernel of its own, in QEMU (as root)
	@$(BIN)/python tests/tools/run_tests.py host

test-host-long: export COREPIN_LONG := 1
test-host-long: $(TESTING) $(LINK) ## the same with full figures, and on more machines
	@$(BIN)/python tests/tools/run_tests.py host

bench: $(BENCHING) $(LINK) ## how good plans are and how long planning and applying take, beside others
	@$(BIN)/python tests/bench/run.py $(BENCH)

lint: $(LINTING) $(LINK) ## the quality gates
	@$(BIN)/python tests/tools/lint.py

format: $(LINTING) ## ruff: the order of imports and the layout of the code
	@$(BIN)/ruff check --quiet --select I --fix
	@$(BIN)/ruff format --quiet

sanity: $(LINTING) $(LINK) ## ansible-test sanity alone
	@$(BIN)/python tests/tools/lint.py sanity

build: $(RUNTIME) ## the collection's tarball, in dist/
	@$(BIN)/python tests/tools/build.py dist

clean: ## remove all that the other targets made
	rm -rf $(VENV) .venv-nova .venv-kvm .ansible .cache .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache dist collections tests/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A changed list of the runtime makes the environment anew; a changed list of tools is installed over it.
$(RUNTIME): requirements/runtime.txt
	@$(PYTHON) tests/tools/check_python.py
	@echo "Making $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) -r $<
	@touch $@

$(TESTING): requirements/test.txt $(RUNTIME)
	@echo "Installing the test tools into $(VENV) ..."
	@$(PIP) -r $<
	@touch $@

$(LINTING): requirements/lint.txt $(TESTING)
	@echo "Installing the lint tools into $(VENV) ..."
	@$(PIP) -r $<
	@touch $@

$(BENCHING): requirements/bench.txt $(TESTING)
	@echo "Installing the exact solver of the benchmark into $(VENV) ..."
	@$(PIP) -r $<
	@touch $@

# Ansible finds a collection by the path ansible_collections/NAMESPACE/NAME: a link to this folder serves.
$(LINK):
	@mkdir -p $(TREE)
	@ln -sfn ../../../.. $@

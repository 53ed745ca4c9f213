SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
FUZZ := .venv-fuzz
SECONDS ?= 1200
# Not the one in .venv, which an activated environment puts first: it would be told to replace itself.
ifndef PYTHON
PYTHON := $(shell readlink -f "$$(command -v python3.11 || command -v python3)")
endif
SERVES := $(VENV)/.serves
READY := $(VENV)/.ready
BROWSER := $(VENV)/.browser
CHARTS := $(VENV)/charts/.complete
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The tools that come with the environment (node among them) before the machine's own.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# What `make run` stores stays beside the code; an installed `asciist serve` keeps it in the user's cache.
export ASCIIST_DATA_DIR ?= $(CURDIR)/.asciist-data

.PHONY: help setup run dashboard test check format synth deploy deploy-local lock pictures bench fuzz clean

help: ## List what make can do
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: $(READY) ## Make the environment in .venv (the others do it when they need it)

# What serves is installed in seconds; what tests and deploys is fifty times as much and waits until it is asked for.
$(SERVES): requirements/serve.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "asciist needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "Python lacks its venv module. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --require-hashes --requirement requirements/serve.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): requirements.txt $(SERVES)
	$(INSTALL) --require-hashes --requirement requirements.txt
	@touch $@

# Tests and pictures of pages need a Chromium, which comes from wherever there is one.
$(BROWSER): $(READY) tools/browser tools/chromium/package-lock.json
	@tools/browser > $@ || { rm $@; exit 1; }

# The chart library of the local dashboard, from npm at the version and the hash in tools/charts.
$(CHARTS): $(READY) tools/charts/package-lock.json
	@mkdir -p $(@D) && cp tools/charts/package.json tools/charts/package-lock.json $(@D)
	@NODE_OPTIONS="--use-system-ca $$NODE_OPTIONS" npm --prefix $(@D) --cache $(@D)/.npm --loglevel=error --no-audit --no-fund \
		--no-update-notifier ci
	@touch $@

run: $(SERVES) ## Serve on port 27244 of this machine (HOST and PORT change it)
	@$(BIN)/asciist serve

dashboard: $(READY) $(CHARTS) ## Show the Datadog dashboard of a service under a little load, on a page of this machine (ARGS=--help)
	@$(BIN)/python -m observability.local $(ARGS)

test: $(READY) $(BROWSER) $(CHARTS) check ## Everything that must hold: the checks, then all tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: $(READY) ## Format, lint, strict types, dependency rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(READY) ## Rewrite the code the way `check` wants it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

synth: $(READY) ## Write the CloudFormation templates to cdk.out (needs no account; CONTEXT='-c worker=asg' chooses)
	@tools/cdk synth --quiet $(CONTEXT)

deploy: $(READY) ## Deploy to the AWS account of your credentials (CONTEXT='-c environment=prod' chooses)
	@tools/cdk deploy --all $(CONTEXT)

deploy-local: $(READY) ## Deploy to an emulated account, send images through, upgrade, destroy (CONTEXT as above)
	@$(BIN)/python -m tests.emulated.rehearsal $(CONTEXT)

lock: ## Compile requirements.txt and requirements/*.txt anew (needs uv)
	@tools/lock

# Peers and the collections whose images are drawn are no part of what serves or tests: an environment apart.
$(BENCH)/.ready: requirements/bench.txt pyproject.toml
	$(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/bench.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

pictures: $(BROWSER) ## Photograph the page and the gallery anew: docs/images
	@$(BIN)/python -m docs.pictures

bench: $(BENCH)/.ready ## Measure the figures that the documents quote: bench/results.md (SECTIONS='fidelity speed' chooses)
	@$(BENCH)/bin/python -m bench $(SECTIONS)

# Like the bench, apart: atheris has no wheel for every Python that serves.
$(FUZZ)/.ready: requirements/fuzz.txt pyproject.toml
	$(PYTHON) -m venv --clear $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/fuzz.txt
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

fuzz: $(FUZZ)/.ready ## Search for images that the conversion cannot take (SECONDS=1200 of it); what is found is in .fuzz
	@$(FUZZ)/bin/python -m tests.fuzz $(SECONDS)

clean: ## Remove the environment and everything stored
	rm -rf $(VENV) .venv-emulator $(BENCH) $(FUZZ) .fuzz .asciist-data .bundles cdk.out

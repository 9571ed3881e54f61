# `make demo` and `make test` need Linux, Python 3.11 or newer and make; everything else they fetch.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell cd protos && find headrace -name '*.proto' | sort)
COVERAGE_TESTS := tests/controller/test_model.py tests/controller/plan tests/controller/store/test_keys.py tests/controller/api/test_convert.py tests/client/test_access.py
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-browser test-jupyterhub test-prometheus test-tracing test-storms test-connections test-compat kubernetes images test-images test-kubernetes sbom coverage check types rules protos reference bench wheels clean

help: ## Shows the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready ## Makes the development environment in .venv

$(VENV)/.ready: constraints.txt client/pyproject.toml $(wildcard services/*/pyproject.toml backends/*/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headrace needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + "; name another with PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -r requirements-dev.txt
	@# xds-protos brings older files of opentelemetry.proto along; which of the two wins is pip's order.
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --force-reinstall --no-deps opentelemetry-proto
	touch $@

demo: setup ## Starts everything, answers real questions on real data, shows it, cleans up
	$(BIN)/python demo/flights.py

test: setup ## All tests that need nothing but wheels
	@# More than half of their time is waiting: three at a time on two processors.
	$(BIN)/pytest -n 3 --dist worksteal --ignore tests/compat --ignore tests/browser --ignore tests/jupyterhub --ignore tests/prometheus --ignore tests/connections --ignore tests/kubernetes --ignore tests/images/engine

test-browser: setup ## Dashboards and notebooks in a headless Chromium, installed from Debian where it is missing
	scripts/install_debian.sh chromium
	PYTHON=$(PYTHON) scripts/install_jupyterlab.sh
	$(BIN)/pytest tests/browser

test-jupyterhub: setup ## Calls through a real JupyterHub and its proxy, installed in .venv-jupyterhub
	PYTHON=$(PYTHON) scripts/install_jupyterhub.sh
	$(BIN)/pytest tests/jupyterhub

test-prometheus: setup ## Measurements in a real Prometheus, installed from Debian where it is missing; draws the dashboards
	scripts/install_debian.sh prometheus
	scripts/install_debian.sh chromium
	$(BIN)/pytest -n 2 tests/prometheus

test-tracing: setup ## Traces in a real OpenTelemetry collector, built with Go where it is missing
	scripts/build_collector.sh
	HEADRACE_TEST_COLLECTOR=.cache/otelcol $(BIN)/pytest tests/tracing

test-storms: setup ## 50,000 fuzzed calls and 200 creates at once; `make test` has some of each
	HEADRACE_TEST_CALLS=50000 HEADRACE_TEST_CREATES=200 $(BIN)/pytest tests/storms

test-connections: setup ## 100 kills of Envoy, minutes of silence, forged sessions, many at once
	PYTHON=$(PYTHON) scripts/install_jupyterlab.sh
	@# The longest test comes first, in a process of its own.
	$(BIN)/pytest -n 3 --dist worksteal tests/connections/test_silence.py $(filter-out %/test_silence.py,$(sort $(wildcard tests/connections/test_*.py)))

kubernetes: ## Builds the Kubernetes of the tests into .cache/, with Go; cold 28 CPU minutes, unchanged seconds
	@command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or newer (https://go.dev/dl)" >&2; exit 1; }
	tests/kubernetes/recipe/build.sh "$(CURDIR)/.cache/kubernetes"

images: setup ## Builds the images of test-kubernetes, which does it too, into .cache/; unchanged seconds
	scripts/install_debian.sh mmdebstrap
	$(BIN)/python -m tests.kubernetes.images

test-images: images ## Builds our images with buildah, installed from Debian, and compares them with those of test-kubernetes
	scripts/install_debian.sh buildah
	$(BIN)/pytest tests/images/engine

test-kubernetes: setup ## On a real Kubernetes: starts it, tests, ends it; with KUBECONFIG on that cluster
	scripts/install_debian.sh mmdebstrap
	$(BIN)/python -m tests.kubernetes.run

test-compat: setup ## Client and agent beside older and newer Dask, grpcio, protobuf and Python
	$(BIN)/python scripts/compat_environments.py

coverage: setup ## Branches that decide: all of them must be covered
	$(BIN)/coverage run -m pytest -q $(COVERAGE_TESTS)
	$(BIN)/coverage report

check: setup ## Lint, types, import rules, contract, drift of generated stubs
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync types rules

types: setup
	$(BIN)/pyright

rules: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_contract.py
	$(BIN)/python scripts/generate_protos.py --check
	$(BIN)/python scripts/generate_reference.py --check
	$(BIN)/python scripts/generate_dashboards.py --check
	$(BIN)/python scripts/generate_image_requirements.py --check
	$(BIN)/python scripts/generate_chart_reference.py --check

protos: setup ## Generates the Python stubs from protos/
	$(BIN)/python scripts/generate_protos.py

reference: setup ## Generates tables of docs, schemas and requirements of images from the code
	$(BIN)/python scripts/generate_reference.py
	$(BIN)/python scripts/generate_image_requirements.py
	$(BIN)/python scripts/generate_chart_reference.py

bench: setup ## Speed, beside dask-gateway in one interleaved run, and how cost grows with size
	$(BIN)/python benchmarks/run.py
	$(BIN)/python -m benchmarks.growth
	$(BIN)/python -m benchmarks.tenants

wheels: setup ## Builds all distributions into dist/
	rm -rf dist
	for project in client services/chassis services/auth services/controller services/proxy services/up backends/local backends/kubernetes; do \
	  $(BIN)/python -m build --no-isolation --wheel --outdir dist $$project >/dev/null || exit 1; done
	ls dist

sbom: setup ## Says what is in our images: CycloneDX documents in dist/
	scripts/install_debian.sh mmdebstrap
	test -x .venv-sbom/bin/cyclonedx-py || { $(PYTHON) -m venv .venv-sbom && .venv-sbom/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0; }
	$(BIN)/python scripts/make_sbom.py

clean: ## Removes all that make has made
	rm -rf .venv .venv-* build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage .cache

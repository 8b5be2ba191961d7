# `make` alone lists the targets. What each needs, it installs itself.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The Python that .venv is made with, unless it is named: make install PYTHON=... Of those on the path that are new enough
# and can make one, the first that was built with optimization, which saves a fifth of the processor time; else the first.
# requirements.lock, which the image's tests install, is for 3.11.3 and newer: redis-py needs one package more before.
# Looked for once, at its first use: `eval` replaces the variable by what was found.
PYTHON ?= $(eval PYTHON := $(shell for python in $$(type -ap python3 python3.14 python3.13 python3.12 python3.11); do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	first=$${first:-$$python}; $$python -c 'import sys; sys.exit(sys.version_info < (3, 11, 3))' || continue; \
	if $$python -c '$(OPTIMIZED)'; then first=$$python; break; fi; done; echo "$${first-}"))$(PYTHON)
# Debian's builds are optimized, and do not say so.
OPTIMIZED := import sys, sysconfig; sys.exit("--enable-optimizations" not in str(sysconfig.get_config_var("CONFIG_ARGS")) \
	and "deb_system" not in sysconfig.get_scheme_names())

BIN := .venv/bin
INSTALLED := .venv/.installed
RUNS := .venv/.runs
BUF := node_modules/.bin/buf
BUF_INSTALLED := node_modules/.installed
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
INSTALL := $(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt --build-constraint constraints.txt

# Makes a target for each client whose toolchain is installed, with clients/LANG/Makefile.
EACH_CLIENT := $(BIN)/python clients/each.py

# The contract as last released, compiled: `make check` refuses changes that break its users.
RELEASED := proto/released.binpb

ACTIONLINT_VERSION := v1.7.12

# What the chart's tests need, built with Go. Without a cluster to ask, helm assumes this Kubernetes version.
HELM_VERSION := v3.22.0
HELM_DOCS_VERSION := v1.14.2
# The API server of `make kube`: of the release whose libraries helm has, so that they are compiled once.
KUBE_VERSION := 1.37.0
TOOLS := .tools/bin
HELM_KUBERNETES := helm.sh/helm/v3/pkg/chartutil helm.sh/helm/v3/pkg/lint/rules
HELM_LDFLAGS := -s -w $(foreach p,$(HELM_KUBERNETES),-X $(p).k8sVersionMajor=1 -X $(p).k8sVersionMinor=37)

HOST := 127.0.0.1
PORT := 50051
WEB_PORT := 8080
DATA := .duebus

.PHONY: help
help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

# --- set up and run ----------------------------------------------------------------------------------------------

.PHONY: install
install: $(INSTALLED) ## Make .venv with DueBus and all its tools, in pinned versions

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing into .venv ($$($(BIN)/python --version))"
	@$(INSTALL) --quiet --compile-bytecode --group dev --editable '.[testing]'
	@touch $@ $(RUNS)

# What `make run` needs, a part of what `make install` installs.
$(RUNS): pyproject.toml constraints.txt | $(BIN)/uv
	@echo "Installing the server into .venv"
	@$(INSTALL) --editable '.[server]'
	@touch $@

$(BIN)/uv: | $(BIN)/python
	@$(PIP) install --quiet --constraint constraints.txt uv

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then echo "DueBus needs Python 3.11 or newer; found $$(python3 --version 2>&1 || echo none)." \
		"Name one: make install PYTHON=/path/to/python3" >&2; exit 1; fi
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("DueBus needs Python 3.11 or newer; $(PYTHON) is %d.%d" % v[:2])'
	@echo "Making .venv ($$($(PYTHON) --version))"
	@$(PYTHON) -c '$(OPTIMIZED)' || echo "$(PYTHON) was built without --enable-optimizations: DueBus takes a fifth more processor time on it"
	@$(PYTHON) -m venv .venv

# The server takes the place of the shell, so that signals reach it: Ctrl-C, and SIGTERM, which make passes on.
.PHONY: run
run: $(RUNS) ## Serve the local engine on 127.0.0.1:50051, its dashboard on 127.0.0.1:8080 (HOST=, PORT=, WEB_PORT=, DATA=)
	@exec $(BIN)/duebus serve --engine local --data-dir $(DATA) --listen $(HOST):$(PORT) --web-listen $(HOST):$(WEB_PORT) > >(trap '' INT TERM; while IFS= read -r line; do \
		echo "$$line"; address="$${line#duebus ready on }"; [ "$$address" != "$$line" ] || continue; \
		address="$${address%% *}"; duebus=$(BIN)/duebus; \
		[ "$$address" = 127.0.0.1:50051 ] || duebus="$$duebus --server $$address"; \
		echo "the dashboard: $${line##* web=}"; \
		echo "try, in a second shell: $$duebus subscribe order.created   and   $$duebus dispatch order.created '{\"id\":42}' --delay 2s"; \
		done)

.PHONY: browser
browser: buf ## Make sure that Chromium is installed, which tests the dashboard (Debian: installs it when run as root)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || $(call INSTALL_DEBIAN,chromium)

.PHONY: redis
redis: ## Make sure that redis-server is installed (Debian: installs it when run as root)
	@command -v redis-server >/dev/null || $(call INSTALL_DEBIAN,redis-server)

.PHONY: prometheus
prometheus: ## Make sure that promtool is installed, which tests the alerts (Debian: installs it when run as root)
	@command -v promtool >/dev/null || $(call INSTALL_DEBIAN,prometheus)

.PHONY: postgres
postgres: ## Make sure that PostgreSQL is installed, which tests the outbox (Debian: installs it when run as root)
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || $(call INSTALL_DEBIAN,postgresql)

.PHONY: mariadb
mariadb: ## Make sure that MariaDB is installed, which tests the outbox (Debian: installs it when run as root)
	@PATH="$$PATH:/usr/sbin"; { command -v mariadbd && command -v mariadb-install-db && command -v my_print_defaults; } >/dev/null \
		|| $(call INSTALL_DEBIAN,mariadb-server-core mariadb-client-core)

INSTALL_DEBIAN = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then echo "Installing with apt-get: $(1)" >&2; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(1); \
	else echo "Install your system's package, as root: $(1)" >&2; exit 1; fi

# --- test and check ----------------------------------------------------------------------------------------------

.PHONY: test
test: install redis browser prometheus postgres mariadb ## Run all tests, several at a time (ARGS='tests/unit -x' for some, ARGS='-n 0' for one at a time)
	@$(PYTEST) $(ARGS)

# tests/support/parallel.py distributes the tests. The suite starts hundreds of processes, so bytecode is kept.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n auto

.PHONY: helm-test
helm-test: install helm-tools prometheus ## Test the chart: lint, snapshots, schemas, refused values
	@$(PYTEST) tests/helm $(ARGS)

.PHONY: kube
kube: install helm-tools .tools/kube-$(KUBE_VERSION) ## Install, upgrade and roll back the chart on a Kubernetes API server, which this builds with Go
	@$(BIN)/pytest tests/helm/on_kubernetes.py $(ARGS)

.PHONY: test-clients
test-clients: install redis ## Run only the clients' own tests and the conformance suite (ARGS='-k go' for one language)
	@$(PYTEST) tests/conformance $(ARGS)

.PHONY: django
django: .tools/django/.installed postgres mariadb ## Test the integration of Django with the newest Django, on Python 3.12 or newer (DJANGO_PYTHON=)
	@PYTHONDONTWRITEBYTECODE= .tools/django/bin/pytest -n auto tests/django_integration $(ARGS)

# Django 6 has tasks of its own and needs Python 3.12. The other tools have the versions of constraints.txt.
.tools/django/.installed: pyproject.toml constraints.txt | $(BIN)/uv
	@[ -n "$(DJANGO_PYTHON)" ] || { echo "Django 6 needs Python 3.12 or newer: make django DJANGO_PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/uv venv --quiet --clear --python $(DJANGO_PYTHON) .tools/django
	@grep -vi '^django' constraints.txt > .tools/django/constraints.txt
	@$(BIN)/uv pip install --quiet --python .tools/django/bin/python --constraint .tools/django/constraints.txt \
		--group dev --editable '.[testing]' 'django>=6'
	@$(BIN)/uv pip uninstall --quiet --python .tools/django/bin/python django-tasks
	@touch $@

DJANGO_PYTHON = $(shell for python in $$(type -ap python3 python3.14 python3.13 python3.12) ~/.pyenv/versions/3.1[2-9]*/bin/python3; \
	do $$python -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$python && break; done)

.PHONY: parity
parity: install redis ## Run the conformance suite and write clients/FEATURE_PARITY.md
	@WRITE_PARITY=1 $(BIN)/pytest tests/conformance $(ARGS)

.PHONY: chaos
chaos: install redis ## Kill, pause and cut off servers, workers and Redis under load (MINUTES=10, SEED= to repeat a course)
	@CHAOS_MINUTES=$(MINUTES) CHAOS_SEED=$(SEED) CHAOS_SERVERS=3 $(BIN)/pytest tests/fault -s $(ARGS)

.PHONY: journal
journal: install ## The journal at length: a crash and a flipped bit at every byte, KILLS=200 kills, many histories
	@JOURNAL_STEP=1 JOURNAL_KILLS=$(KILLS) $(PYTEST) --timeout 7200 tests/journal $(ARGS)
	@HYPOTHESIS_PROFILE=chaos $(PYTEST) tests/property -k journal $(ARGS)

.PHONY: schedules
schedules: install ## Compare the times of schedules with an oracle: every change of the clocks of every zone, 2000 to 2040
	@PYTHONPATH=tests $(BIN)/python -m unit.scheduling.comparison

.PHONY: troubles
troubles: install ## Plant troubles among 10,000 topics, and find each in nothing but the metrics (TOPICS=)
	@TROUBLE_TOPICS=$(TOPICS) $(BIN)/pytest -s --timeout 600 tests/wire/test_troubles.py $(ARGS)

.PHONY: fuzz
fuzz: install redis ## Send random requests to a server (REQUESTS=100000, MINUTES=10, SEED= to repeat a run)
	@FUZZ_REQUESTS=$(REQUESTS) FUZZ_MINUTES=$(MINUTES) FUZZ_SEED=$(SEED) $(BIN)/pytest tests/fuzz -s $(ARGS)

MINUTES := 10
KILLS := 200
TOPICS := 10000
REQUESTS := 100000
SEED := $(shell date +%s)

.PHONY: bench
bench: install redis ## Measure on this machine, into build/bench (ARGS='--rounds 5 --only end-to-end drain', ARGS=--quick)
	@PYTHONPATH=tests $(BIN)/python -m bench $(ARGS)

.PHONY: bench-peers
bench-peers: install redis ## Measure DueBus and its peers, which this installs (ARGS=--quick, ARGS='--markdown docs/benchmarks.md')
	@PYTHONPATH=tests $(BIN)/python -m bench.peers $(ARGS)

.PHONY: bench-growth
bench-growth: install redis ## Measure how it grows: processes, topics, groups, payloads, nodes (as root) (ARGS='--rounds 1 --only nodes')
	@PYTHONPATH=tests $(BIN)/python -m bench.growth $(ARGS)

.PHONY: check
check: lint format-check types layers dashboard-check proto-check generated-check workflows-check docs ## Check what a commit must pass: lint, format, types, layers, dashboard, proto, generated files, workflows, website
	@echo "check passed"

.PHONY: lint
lint: install ## ruff's rules
	@$(BIN)/ruff check

.PHONY: format-check
format-check: install
	@$(BIN)/ruff format --check

.PHONY: types
types: install ## mypy, strict, on the packages and the tests
	@$(BIN)/mypy

.PHONY: layers
layers: install ## import-linter: which package may import which
	@$(BIN)/lint-imports --no-logo

# The dashboard's files and their types. Its libraries are copies of what package-lock.json pins.
STATIC := server/duebus_server/web/static
LIBRARIES := preact/dist/preact.mjs:preact.js preact/hooks/dist/hooks.mjs:preact-hooks.js preact/LICENSE:LICENSE-preact \
	htm/dist/htm.module.js:htm.js htm/preact/index.module.js:htm-preact.js htm/LICENSE:LICENSE-htm \
	uplot/dist/uPlot.esm.js:uplot.js uplot/dist/uPlot.min.css:uplot.css uplot/LICENSE:LICENSE-uplot

.PHONY: dashboard-check
dashboard-check: buf ## tsc: the types of the dashboard; its libraries are those of package-lock.json
	@node_modules/.bin/tsc --project server
	@$(foreach each,$(LIBRARIES),cmp node_modules/$(subst :, $(STATIC)/vendor/,$(each)) && ) true

.PHONY: dashboard-libraries
dashboard-libraries: buf ## Renew the dashboard's libraries after a change of package.json
	@$(foreach each,$(LIBRARIES),cp node_modules/$(subst :, $(STATIC)/vendor/,$(each)) && ) true

.PHONY: picture
picture: install redis browser ## Renew the picture of the dashboard in README.md
	@WRITE_PICTURE=1 $(BIN)/pytest -q -n 0 tests/web/test_dashboard.py -k 'first_page and local'

.PHONY: proto-check
proto-check: buf ## buf: lint, format, nothing broken since the released contract
	@$(BUF) lint proto
	@$(BUF) format proto --diff --exit-code
	@$(BUF) breaking proto --against $(RELEASED)

.PHONY: generated-check
generated-check: install buf
	@$(EACH_CLIENT) generated-check

.PHONY: workflows-check
workflows-check: install ## actionlint and zizmor: the workflows of GitHub (actionlint needs Go)
	@if command -v go >/dev/null || [ -n "$${CI-}" ]; then $(MAKE) --silent .tools/actionlint-$(ACTIONLINT_VERSION) && $(TOOLS)/actionlint; \
		else echo "the workflows: Go is missing, actionlint is left out" >&2; fi
	@$(BIN)/zizmor --offline --quiet --no-progress .github

.tools/actionlint-$(ACTIONLINT_VERSION):
	@$(MAKE) go-tool STAMP=$@ MODULE=github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION) LDFLAGS="-s -w"

.PHONY: docs
docs: install ## Build the website of the documentation into build/docs/site; a broken link is an error
	@PYTHONPATH=tests $(BIN)/python -m support.site

.PHONY: format
format: install buf ## Format Python and proto files
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format
	@$(BUF) format proto --write

$(BUF_INSTALLED): package.json package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: it brings buf, which checks proto/, and what checks the dashboard; install Node.js 18 or newer with npm" >&2; exit 1; }
	@npm ci --loglevel=error
	@touch $@

# --- proto -------------------------------------------------------------------------------------------------------

.PHONY: proto
proto: install buf ## Generate the clients of all languages from proto/
	@$(EACH_CLIENT) generate

.PHONY: buf
buf: $(BUF_INSTALLED) ## Install what npm brings: buf, and what checks the dashboard

.PHONY: proto-release
proto-release: buf ## Make the current contract the released one (only with a release)
	@$(BUF) build proto --exclude-source-info --output $(RELEASED)

.PHONY: reference
reference: install ## Renew what is generated in docs/reference, from the code and the contract
	@PYTHONPATH=tests $(BIN)/python -m support.reference

# --- release -----------------------------------------------------------------------------------------------------

.PHONY: version
version: install ## Write the version of all packages (TO=0.2.0), and what is generated with it
	@PYTHONPATH=tests $(BIN)/python -m support.versions "$(TO)"
	@$(MAKE) helm-snapshots

.PHONY: release-dry-run
release-dry-run: install redis helm-tools ## Pack what a release publishes into dist, try each package in an empty environment, write checksums
	@rm -rf dist
	@DIST="$(CURDIR)/dist" $(PYTEST) tests/package $(ARGS)
	@PYTHONPATH=tests $(BIN)/python -m support.packing dist
	@cat dist/SHA256SUMS

# --- chart and image ---------------------------------------------------------------------------------------------

.PHONY: helm-tools
helm-tools: .tools/helm-$(HELM_VERSION) .tools/helm-docs-$(HELM_DOCS_VERSION) ## Build helm and helm-docs into .tools/bin (needs Go)

.tools/helm-$(HELM_VERSION):
	@$(MAKE) go-tool STAMP=$@ MODULE=helm.sh/helm/v3/cmd/helm@$(HELM_VERSION) LDFLAGS="$(HELM_LDFLAGS)"

.tools/helm-docs-$(HELM_DOCS_VERSION):
	@$(MAKE) go-tool STAMP=$@ MODULE=github.com/norwoodj/helm-docs/cmd/helm-docs@$(HELM_DOCS_VERSION) LDFLAGS="-s -w"

.PHONY: go-tool
go-tool:
	@command -v go >/dev/null || { echo "Go is missing: it builds $(MODULE)" >&2; exit 1; }
	@echo "Building $(MODULE)"
	@GOBIN="$(CURDIR)/$(TOOLS)" go install -ldflags "$(LDFLAGS)" $(MODULE)
	@touch $(STAMP)

# The go.mod of Kubernetes replaces its own modules by folders that are not in its release; here they get their versions.
.tools/kube-$(KUBE_VERSION):
	@command -v go >/dev/null || { echo "Go is missing: it builds kube-apiserver and etcd" >&2; exit 1; }
	@echo "Building kube-apiserver $(KUBE_VERSION) and its etcd, once; this takes many minutes"
	@mkdir -p .tools/kube && cd .tools/kube && rm -f go.mod go.sum && go mod init kube 2>/dev/null && \
		source=$$(go mod download -json k8s.io/kubernetes@v$(KUBE_VERSION) | sed -n 's/.*"GoMod": "\(.*\)",/\1/p') && \
		go mod edit -require k8s.io/kubernetes@v$(KUBE_VERSION) \
			$$(sed -n 's#^\t\(k8s.io/[a-z-]*\) => ./staging.*#-replace \1=\1@v0$(KUBE_VERSION:1%=%)#p' "$$source") && \
		$(KUBE_BUILD) -o ../bin/etcd go.etcd.io/etcd/server/v3 && \
		$(KUBE_BUILD) -o ../bin/kube-apiserver -ldflags "$(KUBE_LDFLAGS)" k8s.io/kubernetes/cmd/kube-apiserver
	@touch $@

KUBE_BUILD := GOFLAGS=-mod=mod go build
KUBE_LDFLAGS := -s -w -X k8s.io/component-base/version.gitVersion=v$(KUBE_VERSION)

.PHONY: helm-docs
helm-docs: helm-tools ## Generate helm/duebus/README.md from the comments of values.yaml
	@$(TOOLS)/helm-docs --chart-search-root helm --sort-values-order file --log-level warning

.PHONY: helm-snapshots
helm-snapshots: install helm-tools ## Renew the snapshots of the chart's tests; look at the diff
	@rm -f tests/helm/snapshots/*
	@HELM_SNAPSHOTS=1 $(BIN)/pytest tests/helm/test_snapshots.py -q

.PHONY: helm-schemas
helm-schemas: install ## Renew the Kubernetes schemas of the chart's tests (needs Go)
	@$(BIN)/python tests/helm/make_schemas.py

.PHONY: image
image: ## Build the image duebus:VERSION for this machine (needs Docker; IMAGE=, ARGS=--pull)
	@$(HAS_DOCKER); docker build $(IMAGE_ARGS) $(ARGS) .

# The attestations say what the image has in it, and how it was made. A registry keeps them, a local image can't.
.PHONY: image-release
image-release: ## Build the image for amd64 and arm64, with SBOM and provenance, and push it (IMAGE=REGISTRY/NAME:VERSION)
	@$(HAS_DOCKER); docker buildx build $(IMAGE_ARGS) --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max --push .

HAS_DOCKER = command -v docker >/dev/null || { echo "docker is missing: it builds the image" >&2; exit 1; }
IMAGE_ARGS = --tag $(IMAGE) --build-arg VERSION=$(VERSION) --build-arg REVISION="$$(git rev-parse HEAD)" \
	--build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)"

.PHONY: image-test
image-test: install docker ## Build the image with Docker, and try it: what runs in it, how it ends, what it leaves behind
	@$(BIN)/pytest -rA tests/image/in_docker.py tests/image/with_compose.py tests/image/with_testcontainers.py $(ARGS)

.PHONY: docker
docker: ## Make sure that there is a Docker engine, or one that `make image-test` can start (Debian: installs it when run as root)
	@docker info >/dev/null 2>&1 || { command -v dockerd && command -v debootstrap; } >/dev/null || $(call INSTALL_DEBIAN,docker.io debootstrap)

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE = duebus:$(VERSION)

.PHONY: lock
lock: install ## Renew requirements.lock and requirements-build.lock, what the image installs, from constraints.txt
	@$(LOCK) --output-file requirements.lock $(LOCKED_EXTRAS) pyproject.toml
	@sed -n 's/^requires = \["\(.*\)"\]/\1/p' pyproject.toml | $(LOCK) --output-file requirements-build.lock -

# For Linux, and for the oldest Python, whose packages newer ones take too; with the hashes of all its wheels, so that it holds for every processor.
LOCK = $(BIN)/uv pip compile --quiet --constraint constraints.txt --generate-hashes --no-emit-index-url --no-annotate \
	--python-platform linux --python-version 3.11.9 --upgrade --custom-compile-command 'make lock'
# The extras of the project that the image has, each as --extra NAME.
LOCKED_EXTRAS = --extra server --extra otel

# --- housekeeping ------------------------------------------------------------------------------------------------

.PHONY: upgrade
upgrade: ## Move constraints.txt, and the locks with it, to the newest versions that fit together
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; \
		$(PYTHON) -m venv "$$fresh/venv"; "$$fresh/venv/bin/pip" install --quiet --upgrade pip hatchling editables; \
		"$$fresh/venv/bin/pip" install --quiet --group dev --editable '.[testing]'; \
		{ grep '^#' constraints.txt; "$$fresh/venv/bin/pip" freeze --all --exclude-editable; } > "$$fresh/new"; \
		cp "$$fresh/new" constraints.txt
	@$(MAKE) lock

.PHONY: clean
clean: ## Remove .venv, node_modules, caches and builds
	@for each in clients/*/Makefile; do $(MAKE) -C "$$(dirname "$$each")" clean; done
	@rm -rf .venv node_modules .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# `make` lists what there is. Everything sets up what it needs: a virtual environment in .venv, and S3 servers, cluster tools
# and images in $S3D_E2E_CACHE.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help check unit test demo e2e soak bench conformance clients env generate lock format clean
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
PYTEST := $(BIN)/python -m pytest
export PATH := $(BIN):$(PATH)
# What is compiled is kept, rewritten assertions too: to make it anew is half of the time that collecting tests takes.
export PYTHONDONTWRITEBYTECODE :=
export S3D_E2E_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/s3d-e2e

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the main job, told as it happens: writes survive an outage and a kill -9 (two minutes)
	@.ci/venv .venv-demo e2e/demo/requirements.txt
	@.venv-demo/bin/python -m e2e.demo.demo

unit: .venv ## the tests that start no server (a minute and a half); ARGS="-k name" picks some
	@$(PYTEST) tests -m "not server" --ignore tests/e2e --ignore-glob "*/test_chart_*" -n auto --maxprocesses 4 --dist worksteal $(ARGS)

test: .venv servers shells chart-tools ## the tests, against real S3 servers; ARGS="-k name" picks some
	@$(PYTEST) tests -n auto --maxprocesses 4 --dist worksteal $(ARGS)

check: .venv ## format, lint, types, import floors, spelling, generated files (under a minute)
	@ruff format --check --quiet . || { echo "ruff format would change these files; make format does"; exit 1; }
	@ruff check --quiet .
	@mypy
	@lint-imports --no-logo 2>&1 | { grep -vE '^(-+|Contracts|)$$' || true; }
	@codespell
	@.ci/generate --check

e2e: .venv servers chromium cluster-parts ## stock clients, browsers, kills, power cuts, and the cluster; ARGS="-m cluster" picks some
	@$(PYTEST) e2e $(ARGS)

# With S3TESTS_DIR, the conformance with Ceph RGW is part of it.
soak: .venv servers ## kills, power cuts, all faults and random operations, many more of them; HOURS=n SEED=name
	@S3D_E2E_SOAK_HOURS=$(or $(HOURS),1) S3D_E2E_SEED=$(or $(SEED),s3d) $(PYTEST) e2e/chaos e2e/mount e2e/compat/test_held_by_tags.py tests/sidecar/layers/queue/test_state_machine.py tests/sidecar/layers/queue/push/test_judged_answers.py tests/sidecar/layers/queue/push/test_judged_through.py tests/sidecar/layers/cache/test_reads.py tests/sidecar/layers/names/test_names_at_random.py tests/sidecar/sync/test_engines.py tests/sidecar/sync/test_same_moment.py tests/sidecar/test_policy_daemon.py tests/sidecar/test_read_cache.py tests/sidecar/mount/test_rules.py $(ARGS)
	@[ -z "$(S3TESTS_DIR)" ] || $(MAKE) conformance ARGS="-k rgw"

bench: .venv servers ## s3d beside its goals (docs/BENCHMARKS.md), some minutes; ARGS="--only small" picks some
	@$(BIN)/python -m e2e.bench $(ARGS)

conformance: .venv servers ## ceph/s3-tests through the gateway, seven modes; S3TESTS_DIR=checkout, ARGS="-k versitygw" picks some
	@.ci/venv .venv-conformance e2e/conformance/requirements.txt
	@S3TESTS_PYTHON=$(CURDIR)/.venv-conformance/bin/python $(PYTEST) e2e/conformance/suite.py -s $(ARGS)

clients: .venv servers ## real clients through the gateway; S3D_CLIENTS=script that runs them
	@$(PYTEST) e2e/conformance/clients.py -s $(ARGS)

env: .venv ## prints aliases: eval "$(make env)"
	@echo "alias s3d='$(BIN)/s3d' s3d-operator='$(BIN)/s3d-operator'"

generate: .venv ## writes crds/, docs/settings.md, docs/metrics.md, docs/status.md, the states in docs/ARCHITECTURE.md, the chart's values and dist/install.yaml from what they come from
	@.ci/generate

lock: .venv ## writes the lock files; ARGS=--upgrade takes newer versions
	@.ci/lock $(ARGS)

format: .venv ## formats the code
	@ruff format --quiet .
	@ruff check --quiet --fix-only .

clean: ## removes the virtual environments (the cache stays)
	rm -rf .venv .venv-demo .venv-conformance

.PHONY: .venv servers shells chromium chart-tools cluster-parts
.venv:
	@.ci/venv .venv requirements-dev.txt

# Exit code 3 says that this machine cannot have a part; its tests are skipped then, each with the reason.
servers:
	@e2e/cluster/tools.sh versitygw minio opa || [ $$? = 3 ]

# Those whose completion is tested.
shells:
	@e2e/cluster/shells.sh || [ $$? = 3 ]

# The browser that uses a gateway.
chromium:
	@e2e/cluster/chromium.sh || [ $$? = 3 ]

# What renders and judges the chart.
chart-tools: .venv
	@{ e2e/cluster/tools.sh helm kubeconform kube-score && e2e/cluster/schemas.sh; } || [ $$? = 3 ]
	@e2e/cluster/prometheus.sh || [ $$? = 3 ]

# The cluster itself is brought up by the first test that asks for it.
cluster-parts:
	@{ e2e/cluster/docker.sh && e2e/cluster/tools.sh kind helm kubeconform && e2e/cluster/node-image.sh; } || [ $$? = 3 ]

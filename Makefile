# Every command of the project. `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ORDERS_PER_S ?= 5
FOR ?=
# Most tests of real servers wait, so two files at a time halve the time; each file keeps its servers to itself.
PYTEST_ARGS ?= -n 2 --dist loadfile --cov --cov-report=term

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(VENV)/run.done: requirements/run.txt requirements/dev.txt pyproject.toml $(wildcard tools/commands/*)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what the programs need (requirements/run.txt, dev.txt)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/run.txt -r requirements/dev.txt
	@echo "$(CURDIR)" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/broker-sidecar.pth
	@echo "$(CURDIR)/proto" >> $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/broker-sidecar.pth
	@cp tools/commands/* $(BIN)/
	@touch $@

$(VENV)/test.done: $(VENV)/run.done requirements/test.txt
	@echo "installing what the tests need (requirements/test.txt)"
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/test.txt
	@touch $@

.PHONY: env
env: $(VENV)/run.done ## make the environment that the programs run in

.PHONY: test-env
test-env: $(VENV)/test.done ## make the environment that checks and tests run in

.PHONY: run
run: env ## start everything on this machine (ORDERS_PER_S=5 FOR=30s)
	@exec $(BIN)/python -m devstack --orders-per-s $(ORDERS_PER_S) $(if $(FOR),--for $(FOR))

.PHONY: drill
drill: env ## cause a fault and see its alert fire (NAME=VenueDisconnected; without NAME, list the drills)
	@exec $(BIN)/python -m devstack.drill $(NAME)

.PHONY: test
test: check unit ## run check, then every test that this machine can run

.PHONY: unit
unit: $(VENV)/test.done
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)

.PHONY: test-deps
test-deps: ## install the real servers that the tests use
	@bash tests/install-servers.sh

.PHONY: check
check: $(VENV)/test.done ## check lint, types, import contracts, the gRPC contract and generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@cd proto && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against released/v1.binpb
	@bash proto/generate.sh --check
	@$(BIN)/python -m tools.client --check
	@$(BIN)/python -m tools.reference.events --check
	@$(BIN)/python -m tools.reference.order_life_cycle --check
	@$(BIN)/python -m tools.monitoring.rules --check
	@$(BIN)/python -m tools.grafana.dashboards --check
	@$(BIN)/python -m tools.kibana --check

.PHONY: proto
proto: $(VENV)/test.done ## generate the stubs from the contract
	@bash proto/generate.sh

.PHONY: bench
bench: $(VENV)/test.done ## measure against baselines, and write bench/results.json
	@$(BIN)/python -m bench

.PHONY: soak
soak: $(VENV)/test.done ## run the sweeps at full size (hours): kills, ambiguous answers, hostile input, rotations
	@SEED=$${SEED:-$$RANDOM} TELEMETRY_KILLS=200 TELEMETRY_OUTAGE_S=600 TELEMETRY_STALL_S=60 KILLS=500 BROKER_KILLS=50 DAY_KILLS=144 AMBIGUOUS=500 ROTATIONS=1000 KILL_STEPS=84 FORKS=1000 OUTAGES_S="25 75" \
	 INTERRUPTIONS=0 FRESH_CONTAINER=1 CONSOLE_STATES=all CRASH_EXAMPLES=2000 HOSTILE_MESSAGES=100000 HOSTILE_BODIES=100000 SIDECAR_ABSENT_S=180 REQUIRE_ALL=1 MONTH_STEP_MIN=1 DRILLS=all STRANGERS=2000 STRANGERS_S=600 FAULTS=500 REVOCATIONS=200 AGENT_RUNS=2000 SWEEP_STEP=1 \
	 CHAOS_S=3600 CHAOS_STRANGERS=2000 NETWORK_FAULTS=20 OUTAGE_S=40 RECOVERY_S=30 \
	 $(BIN)/python -m pytest -v -o timeout=14400 \
	 tests/documents tests/e2e/test_console.py tests/e2e/chaos tests/e2e/telemetry tests/e2e/test_sidecar_absent.py tests/integration/orders tests/integration/api tests/integration/network tests/integration/secrets \
	 tests/unit/broker/orders/ownership/test_interrupted.py tests/unit/producer/stream/test_interrupted.py tests/unit/sidecar/secrets/test_agent_property.py tests/unit/producer/test_fork.py tests/unit/sidecar/checkpoint/test_crash.py tests/unit/sidecar/ingest/test_hostile.py tests/unit/broker/api/test_hostile.py tests/unit/broker/orders/test_engine.py tests/unit/sidecar/journal/test_volume_faults.py \
	 tests/integration/monitoring/test_month.py tests/e2e/test_drills.py tests/unit/broker/api/test_schemathesis.py

.PHONY: otelcol
otelcol: ## build the collector distributions, once (.cache/otelcol, .cache/otelcol-router)
	@bash otel-collector/build.sh

.PHONY: lock
lock: $(VENV)/test.done ## resolve and lock the requirements again
	@compile="$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11"; \
	$$compile requirements/run.in -o requirements/run.txt; \
	$$compile requirements/scan.in -o requirements/scan.txt; \
	for set in broker sidecar dev test; do $$compile -c requirements/run.txt requirements/$$set.in -o requirements/$$set.txt; done

.PHONY: bluegreen
bluegreen: env ## swap two colours ten times under 50 orders/s and check every order (SWAPS=10)
	@exec $(BIN)/python -m devstack.bluegreen --swaps $(or $(SWAPS),10)

.PHONY: images
images: ## build the images and print their sizes (CONTAINER_TOOL=docker TAG=dev)
	@tools/images.sh

.PHONY: docs
docs: $(VENV)/test.done ## build the documentation site into build/site and check its links
	@# Not -q: it hides warnings from the count that `strict` uses.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build 2>&1 | { grep -v '^INFO' || true; }

.PHONY: check-docs
check: check-docs
check-docs: docs
	@$(BIN)/python -m tools.reference --check
	@$(BIN)/codespell

.PHONY: scan
scan: $(VENV)/test.done ## make bills of materials and scans; list scans that could not run as NOT RUN (STRICT=1)
	@tools/scan.sh

.PHONY: deploy
deploy: $(VENV)/test.done ## show the changes of a deployment, ask, apply (ENV=dev|staging|production)
	@tools/deploy.sh $(ENV)

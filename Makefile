# Two commands do everything: `make serve` and `make test`. Both work on a fresh clone and are quick the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUST   := Cargo.toml Cargo.lock $(shell find crates -name '*.rs' -not -path '*/target/*' -not -path '*/fuzz/*') $(wildcard crates/*/Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help build serve test check bench bench-observed bench-scrape bench-tls bench-soak bench-lifecycle fuzz autobahn h1spec h2spec docs format clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

RUST_MINIMUM := 1.85
$(BIN)/python:
	@cargo --version >/dev/null 2>&1 || { echo "cargo is missing: install Rust $(RUST_MINIMUM) or newer (rustup.rs, or Debian 13's cargo)"; exit 1; }
	@printf '%s\n' $(RUST_MINIMUM) "$$(cargo --version | cut -d' ' -f2)" | sort -VC || \
	    { echo "cargo is $$(cargo --version | cut -d' ' -f2), Swell needs $(RUST_MINIMUM) or newer: rustup.rs, or Debian 13's cargo"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip

# The build tool, and Swell itself in place with a release build of its native core.
$(VENV)/built: $(BIN)/python pyproject.toml $(RUST)
	$(BIN)/python -m pip install -q 'maturin>=1.8,<2'
	$(BIN)/maturin develop --release --extras standard --quiet
	@touch $@

build: $(VENV)/built ## Build the release and install it into .venv

serve: build ## Serve the chat room of examples/ on http://127.0.0.1:8000
	$(BIN)/swell serve examples.chat:app $(ARGS)

$(VENV)/tested: $(VENV)/built tests/requirements.txt
	$(BIN)/python -m pip install -q -r tests/requirements.txt
	tests/install-system-packages
	@touch $@

test: $(VENV)/tested ## Run all tests (ARGS="-k name" for some of the Python ones)
	PYO3_PYTHON=$(CURDIR)/$(BIN)/python cargo test --quiet --workspace
	@# Most tests wait for most of their time. With 5 pytest says that ARGS leaves nothing of a half.
	$(BIN)/python -m pytest -n $(shell expr $$(nproc) + 1) --dist loadfile -m 'not alone' $(ARGS) || [ $$? -eq 5 ]
	$(BIN)/python -m pytest -m alone $(ARGS) || [ $$? -eq 5 ]

check: $(VENV)/tested ## Lint, types, formats, the native stub, licences
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest swell._core
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --log-level error check bans licenses sources; \
	else echo "cargo-deny is not installed: licences and sources of the crates are not checked"; fi

bench: ## Measure Swell beside its peers (three quarters of an hour; ARGS="--quick": the scenarios alone, a look)
	$(PYTHON) bench/run.py $(ARGS)
	$(if $(ARGS),,$(PYTHON) bench/tls.py && $(PYTHON) bench/observed.py)

bench-observed: ## What metrics, dashboards and scrapes cost (seven minutes)
	$(PYTHON) bench/observed.py $(ARGS)

bench-tls: ## TLS beside uvicorn and nginx: requests, handshakes, idle connections (about three minutes)
	$(PYTHON) bench/tls.py $(ARGS)

bench-scrape: ## What a scrape of many workers costs, and traces (about two minutes)
	$(PYTHON) bench/scrape.py $(ARGS)

bench-soak: ## Four minutes of mixed load with clients that come, go and stall
	$(PYTHON) bench/soak.py $(ARGS)

bench-lifecycle: ## Starts, reloads, scaling, killed workers, memory and idling, beside the peers (a quarter of an hour)
	$(PYTHON) bench/lifecycle.py $(ARGS)

FUZZ_SECONDS ?= 60
fuzz: ## Fuzz heads, chunked bodies and WebSocket frames, FUZZ_SECONDS each
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked --quiet cargo-fuzz
	cd crates/wire && for target in head chunked frame; do \
	    RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 || exit 1; \
	done

autobahn: $(VENV)/tested ## Autobahn's 517 WebSocket cases; writes docs/autobahn.md (needs a Python 2.7)
	$(BIN)/python tools/autobahn/run.py $(ARGS)

h1spec: $(VENV)/tested ## uNetworking's h1spec; H1SPEC=DIR names a checkout of it
	$(BIN)/python tools/h1spec/run.py $(H1SPEC)

h2spec: $(VENV)/tested ## h2spec's 145 cases, in clear text and over TLS (needs h2spec, or Go to build it)
	$(BIN)/python tools/h2spec/run.py $(ARGS)

docs: build ## Make the tables of options, limits, scaling parameters and metrics anew
	$(BIN)/python -m swell.config.docs docs
	$(BIN)/python -m swell.scaling.docs docs
	$(BIN)/python -m swell.telemetry.metrics.docs docs

format: $(VENV)/tested ## Format everything
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cargo fmt --all

clean: ## Remove what was built
	rm -rf $(VENV) target bench/.venv bench/load/target crates/wire/fuzz/target .cache

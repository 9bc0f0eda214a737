# Two commands do everything: `make serve` and `make test`. Both work on a fresh clone and are quick the second time.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUST   := Cargo.toml Cargo.lock $(shell find crates -name '*.rs' -not -path '*/target/*' -not -path '*/fuzz/*') $(wildcard crates/*/Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help build serve test check bench bench-soak fuzz autobahn h1spec format clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
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

test: $(VENV)/tested ## Run all tests
	cargo test --quiet --package swell-wire
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/tested ## Lint, types, formats, native stub
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest swell._core
	cargo fmt --all --check
	cargo clippy --all-targets --quiet -- -D warnings

format: $(VENV)/tested ## Format everything
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cargo fmt --all

clean: ## Remove what was built
	rm -rf $(VENV) target

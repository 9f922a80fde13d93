# Every target makes .venv from requirements.lock (make demo: from a part of it) when it must: Python 3.11+ with venv and pip is all it needs.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
BENCH_ARGS ?=
GUARDS ?=
YEAR := --size small --days 120 --start 2026-04-13 --database orgx_year.duckdb
# What `make lowest` and `make newest` run: the unit tests, and whole syncs into DuckDB and PostgreSQL.
KEY_TESTS := tests/unit tests/marts tests/e2e/test_world_equality.py tests/e2e/test_history.py tests/e2e/test_export.py
test_with = $(BIN)/uv venv --quiet --clear --python $(BIN)/python build/$@ && \
	$(BIN)/uv pip install --quiet --python build/$@ --resolution $(1) -e '.[all,dev]' && \
	build/$@/bin/python -m pytest $(KEY_TESTS) $(PYTEST_ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test search guards lowest newest lint format docs notebooks lab bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Make .venv with the pinned dependencies

# Shows the name of each package while pip works, and pip's errors; fails when pip fails.
pip_install = { $(BIN)/python -m pip install --disable-pip-version-check --no-compile --require-hashes -r $(1) 2>&1; \
	echo $$? >$(VENV)/.pip; } | awk '/^ *(ERROR|error)/ {print} \
	/^Collecting/ {print "  " $$2; fflush()} /^Installing/ {print "  Installing ..."; fflush()}'; \
	test "$$(cat $(VENV)/.pip)" = 0
install_this = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
make_venv = test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 1; }; \
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "Setting up .venv with all packages, 1 GB (once, about a minute) ..."
	@$(make_venv)
	@$(call pip_install,$<)
	@$(install_this)
	@touch $@

$(VENV)/.demo: requirements-demo.lock pyproject.toml
	@echo "Setting up .venv with what the demo needs, 410 MB (once, less than a minute) ..."
	@$(make_venv)
	@$(call pip_install,$<)
	@$(install_this)
	@touch $@

demo: $(if $(wildcard $(VENV)/.ready),setup,$(VENV)/.demo) ## Sync a sample organisation into orgx_demo.duckdb; no account needed
	@$(BIN)/orgx-sync demo

test: setup ## Run all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

search: setup ## Search for counter-examples for about three hours, and take the guards out one by one
	@ORGX_SEQUENCES=300 ORGX_EXAMPLES=20000 ORGX_KILLS=50 ORGX_MIXTURES=200 ORGX_EVENTS=20000 $(BIN)/python -m pytest \
		tests/e2e/test_any_sequence.py tests/e2e/test_known_sequences.py tests/e2e/test_interrupted.py tests/unit/test_paging_property.py \
		tests/unit/test_envelope_property.py tests/unit/test_network.py tests/unit/test_search_reader.py tests/e2e/test_event_storms.py tests/e2e/test_any_fields.py \
		tests/contract/test_faults.py $(PYTEST_ARGS)
	@$(BIN)/python tests/guards.py

guards: setup ## Take guards out of the code, and see their tests fail (GUARDS="--sample 4", or a word)
	@$(BIN)/python tests/guards.py $(GUARDS)

lowest: setup ## Test with the lowest allowed version of each dependency (installs them below build/)
	@$(call test_with,lowest-direct)

newest: setup ## Test with the newest allowed version of each dependency (installs them below build/)
	@$(call test_with,highest)

lint: setup ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## Rewrite the code in the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## Write the generated pages again
	@$(BIN)/python docs/build.py

notebooks: setup orgx_year.duckdb ## Execute every notebook in place (about a minute; two more to make its 120 days of data once)
	@$(BIN)/python notebooks/execute.py

lab: setup orgx_year.duckdb ## Open the notebooks in JupyterLab
	@$(BIN)/jupyter lab notebooks/01_first_look.ipynb

orgx_year.duckdb: | setup
	@echo "Making 120 days of a sample organisation (once, about two minutes) ..."
	@mkdir -p build/year
	@cd build/year && ../../$(BIN)/orgx-sync demo $(YEAR) >log.txt 2>&1 || { cat log.txt; exit 1; }
	@mv build/year/$@ $@

bench: setup ## Measure time and memory next to other tools (an hour; installs them below build/)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

lock: setup ## Pin every dependency again, with hashes
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra all --extra dev pyproject.toml -o requirements.lock
	@printf 'hatchling\neditables\n' | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra sandbox --extra report --constraint requirements.lock pyproject.toml - -o requirements-demo.lock

clean: ## Remove .venv and what tests leave in the checkout
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info

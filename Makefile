# One entry for every chore. Needs Python 3.11 or newer and a network to the package registries, nothing else.
PYTHON ?= python3
BIN := .venv/bin
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export STREAMLIT_BROWSER_GATHER_USAGE_STATS := false
export YOLO_OFFLINE := true

.DEFAULT_GOAL := help
.PHONY: help demo check quick test lint style types sql bench docs site lock clean

help: ## Print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/installed ## Set up, draw the demo plant, ingest it, and say what to type next
	@$(BIN)/duckspect demo

check: .venv/installed ## Lint, and run the tests that need no training, dbt build, browser or server
	@$(MAKE) --no-print-directory --jobs 4 quick style types sql

quick: .venv/installed
	@OMP_WAIT_POLICY=passive OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --quiet \
		-m 'not (training or dbt or server or browser or slow)'

test: .venv/installed ## Set up and run all tests
	@OMP_WAIT_POLICY=passive $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: style types sql ## Check style, types and SQL

style: .venv/installed
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/installed
	@$(BIN)/mypy

sql: .venv/installed
	@$(BIN)/sqlfluff lint sql/macros sql/queries sql/schema dbt_project/models dbt_project/tests --processes 2
	@$(BIN)/sqlfluff lint sql/dashboard --templater placeholder

bench: .venv/installed ## Run the benchmarks and print their tables
	@for file in $(filter-out benchmarks/torture.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

docs: .venv/installed ## Write docs/ from the command line, the readers and the schema
	@$(BIN)/python -m udfs.cli.reference docs

site: .venv/installed ## Make a site of docs/ in site/
	@NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet && \
		echo "Open site/index.html; its search needs a server: python -m http.server -d site"

lock: .venv/installed ## Pin the newest versions that work together
	@$(BIN)/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 --upgrade \
		--no-header --no-annotate --output-file requirements.lock

clean: ## Remove what demo, test and build made
	@rm -rf .venv build dist site warehouse.duckdb warehouse.duckdb.wal warehouse_files dbt_project/target dbt_project/logs \
		logs .mypy_cache .pytest_cache .ruff_cache

# Python files are compiled once here, so that no command pays for it.
.venv/installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("duckspect needs Python 3.11 or newer, but $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@echo "Setting up .venv (a few minutes the first time: torch is large; a dot is ten seconds) ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@(while sleep 10; do printf .; done) & dots=$$!; trap 'kill $$dots 2>/dev/null' EXIT; \
		$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint requirements.lock --compile-bytecode --editable '.[dev]'
	@echo
	@touch $@

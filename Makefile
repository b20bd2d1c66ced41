# The two commands of the README: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# On a shared machine LightGBM's threads otherwise burn the time that they wait for each other.
export OMP_WAIT_POLICY := passive

.PHONY: demo apply test lint types unit clean help

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /: /'

$(READY): pyproject.toml constraints.txt constraints-dev.txt
	@echo 'Installing into $(VENV), some minutes the first time ...'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -c constraints-dev.txt -e '.[dev]'
	@# BentoML reports its use unless told not to: whatever runs in this environment tells it so.
	@$(BIN)/python -c "import pathlib, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), \
		'lookbook_no_tracking.pth').write_text('import os; os.environ.setdefault(\"BENTOML_DO_NOT_TRACK\", \"True\")\\n')"
	@touch $@

# Spark is large, and only a test needs it.
$(VENV)/.spark: $(READY)
	@echo 'Installing Spark for its test ...'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -c constraints-dev.txt -e '.[spark]'
	@touch $@

# MLflow asks for an older package than the one that is pinned, so it stands in a folder of its own for its test.
$(VENV)/.mlflow: $(READY) constraints-mlflow.txt
	@echo 'Installing MLflow for its test ...'
	@rm -rf $(VENV)/mlflow
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --target $(VENV)/mlflow -r constraints-mlflow.txt
	@touch $@

demo: $(READY) ## a shop, features, models, a release and its page (DATA=DIR or DATA=online-retail; SERVE=0 to end)
	$(BIN)/lookbook demo $(if $(DATA),--data "$(DATA)")

apply: $(READY) ## feast apply, unless it would change features that a release under an alias uses
	$(BIN)/lookbook features guard
	$(BIN)/feast -c feature_repo apply

test: lint types unit ## lint, types and all tests

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

# Whole files go to a worker, in the order of their names: what a file's tests share is made once, and
# the last files are short ones. More workers need more memory: `make unit WORKERS=4`. Each keeps to one core:
# threads that wait for each other on cores which the other worker has take longer than one alone.
WORKERS ?= 2

unit: $(VENV)/.spark $(VENV)/.mlflow
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

clean: ## remove the environment and all caches, not the shops
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info build

# Two commands for a new user: `make label`, then `make test`. Both set everything up first.

PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= labels
MODELS_VENV ?= .venv-models
# Smaller than the release in constraints.txt where pip is shown a build for CPUs.
TORCH ?= torch==2.13.0
# The pinned version, the newest that was tried and the lowest that pyproject.toml allows.
TRANSFORMERS ?= 5.23.0 5.24.0 5.0.0

# Compiled modules are kept, whatever the machine says: the tests start some hundred processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: install label test style lint check docs install-models test-models test-wheel notebooks clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sphere_ebm needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,ann,parquet,healpix,text,pdf,librarian,studies,ray,widget,docs]'
	@touch $@

label: install
	$(VENV)/bin/sphere-ebm label data --output $(OUTPUT)

# Types are checked by a test, beside the others.
test: style check

style: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

lint: style
	$(VENV)/bin/mypy

check: install
	$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 20

# The extras that need torch, and the benchmarks' peers, in an environment of their own; elsewhere their tests are skipped.
install-models: $(MODELS_VENV)/.installed

$(MODELS_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MODELS_VENV)
	grep -v '^torch' constraints.txt > $(MODELS_VENV)/constraints.txt
	$(MODELS_VENV)/bin/python -m pip install --quiet --constraint $(MODELS_VENV)/constraints.txt \
		'$(TORCH)' --editable '.[blt,sentences,text,bench,peers,glosses]' \
		beartype hypothesis pytest pytest-xdist
	$(MODELS_VENV)/bin/python -c 'import torch, transformers, sentence_transformers'
	@touch $@

test-models: install-models
	@set -e; for version in $(TRANSFORMERS); do \
		echo "with transformers $$version:"; \
		$(MODELS_VENV)/bin/python -m pip install --quiet "transformers==$$version"; \
		$(MODELS_VENV)/bin/python -m pytest -rs tests/text/test_blt.py tests/text/test_blt_weights.py \
			tests/text/test_models.py tests/text/test_passage_embedder.py; \
	done
	$(MODELS_VENV)/bin/python -m pytest -rs tests/benchmarks/test_peer_methods.py

# The wheel, and each of its common ways to be installed, in an empty environment with its smallest job.
test-wheel:
	PYTHON="$(PYTHON)" .ci/wheel

# The documentation site in build/site, with warnings as errors and without a network.
docs: install
	$(VENV)/bin/python docs/build_site.py

# Runs the notebooks and keeps their outputs; the tests run them with smaller numbers and keep nothing.
notebooks: install
	$(VENV)/bin/python notebooks/execute.py

# Labels are results: `clean` leaves them where they are.
clean:
	rm -rf $(VENV) $(MODELS_VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache build

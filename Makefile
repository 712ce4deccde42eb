# Two commands for a new user: `make label`, then `make test`. Both set everything up first.

PYTHON ?= python3
VENV ?= .venv
OUTPUT ?= labels

.PHONY: install label test lint check notebooks clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "sphere_ebm needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,ann,parquet,healpix,text,studies,ray,widget]'
	@touch $@

label: install
	$(VENV)/bin/sphere-ebm label data --output $(OUTPUT)

test: lint check

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

check: install
	$(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --durations 20

# Runs the notebooks and keeps their outputs; the tests run them with smaller numbers and keep nothing.
notebooks: install
	$(VENV)/bin/python notebooks/execute.py

# Labels are results: `clean` leaves them where they are.
clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

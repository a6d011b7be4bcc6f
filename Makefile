# make demo: set up and start the demo.   make test: set up and pass the tests.
PYTHON ?= python3

.PHONY: demo test lint

.venv/demo: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install -r requirements.txt
	touch $@

.venv/test: .venv/demo requirements-dev.txt
	.venv/bin/python -m pip install -r requirements-dev.txt
	touch $@

demo: .venv/demo
	.venv/bin/python app.py

test: .venv/test
	.venv/bin/python -m pytest

lint: .venv/test
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .

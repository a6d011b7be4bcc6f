# make demo: set up and start the demo.
# make test: set up and pass the quick tests, below five minutes.   make test-all: and the slow ones.
# make lint, make types: style, and the types of fer_model, train.py, evaluate.py and app.py.
# make space SPACE=user/name: upload what a Hugging Face Space needs, and nothing else (after `hf auth login`).
PYTHON ?= python3
HF ?= .venv/bin/hf

.PHONY: demo test test-all lint types space

.venv/demo: requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install -r requirements.txt
	touch $@

.venv/test: .venv/demo requirements-dev.txt tests/package-lock.json
	.venv/bin/python -m pip install -r requirements-dev.txt
	if command -v npm >/dev/null; then npm ci --prefix tests --silent --no-audit --no-fund; fi  # axe-core
	touch $@

demo: .venv/demo
	.venv/bin/python app.py

# in two processes; a test file stays in one of them, with what its tests share
PYTEST = .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: .venv/test
	$(PYTEST) -m "not slow"

test-all: .venv/test
	$(PYTEST)

lint: .venv/test
	.venv/bin/python -m ruff check .
	.venv/bin/python -m ruff format --check .

types: .venv/test
	.venv/bin/python -m mypy

# quoted, because hf and not the shell is to match them; an asterisk of hf matches slashes too
SPACE_NEEDS = 'app.py' 'README.md' 'CHANGELOG.md' 'CONTRIBUTING.md' 'SECURITY.md' 'LICENSE' 'requirements.txt' \
	'docs/*' 'examples/*' 'fer_model/*' 'results/*/metrics.json' 'results/*/history.json' 'results/*/models/*' 'results/*.png'

space:
	$(if $(SPACE),,$(error say which: make space SPACE=user/name))
	$(HF) upload $(SPACE) . --repo-type space $(SPACE_NEEDS:%=--include %) --exclude '*.pyc' --exclude '*/checkpoints/*' \
		--delete 'fer_model/*' --delete 'docs/*' --commit-message 'Update the Space'

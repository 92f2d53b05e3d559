# The two commands of the README, the checks that go with them, and the benchmarks.
# PYTHON: what makes .venv, which is made anew if another Python made it. Without PYTHON, a .venv that
# is there is kept. Set REDIS_URL to use a server of your own instead of the embedded one, and PORT
# if port 8000 is busy.

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Which Python it is; of a virtual environment, the one that made it. Nothing if it does not run.
WHICH := -c 'import sys; print(sys.hexversion, sys.base_prefix)' 2>/dev/null
HAVE := $(shell $(BIN)/python $(WHICH))
WANT := $(if $(filter command environment,$(origin PYTHON)),$(shell $(PYTHON) $(WHICH)),$(HAVE))

.PHONY: run test coverage lint bench

run: $(INSTALLED)
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py demoadmin
	$(BIN)/python manage.py runserver 127.0.0.1:$(PORT)

# In two processes, each with a server of its own. With ARGS, which are those of pytest, in one:
# ARGS="tests/test_races.py -s" shows the figures of the races.
test: $(INSTALLED)
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses 2 --dist worksteal)

# The same tests, and which lines they reach: takes half as long again. Package and tests are covered
# whole. On Python 3.11 the report misses a few lines of tests that run after tasks were cancelled,
# where that interpreter stops tracing.
coverage: $(INSTALLED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(or $(ARGS),--numprocesses 2 --dist worksteal)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Engines side by side, on REDIS_URL or a server of its own: ARGS="--quick", ARGS="memory scale".
bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks $(ARGS)

$(VENV)/.installed-bench: $(INSTALLED) benchmarks/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	touch $@

# Made anew when what is to be installed has changed.
$(INSTALLED): $(VENV)/pyvenv.cfg requirements.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)

ifneq ($(HAVE),$(or $(WANT),another))
.PHONY: $(VENV)/pyvenv.cfg
endif

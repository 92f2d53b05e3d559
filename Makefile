# The two commands of the README, checks for developers, and the benchmarks.
# PYTHON: the Python that creates .venv. If another one created it, it is created again. Without
# PYTHON, an existing .venv is kept. Set REDIS_URL to use your own server in place of the embedded
# one, and PORT if port 8000 is busy.

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# Prints which Python it is, or which one created the virtual environment. Nothing if it cannot run.
WHICH := -c 'import sys; print(sys.hexversion, sys.base_prefix)' 2>/dev/null
HAVE := $(shell $(BIN)/python $(WHICH))
WANT := $(if $(filter command environment,$(origin PYTHON)),$(shell $(PYTHON) $(WHICH)),$(HAVE))

.PHONY: run test coverage lint messages bench moving weather sites

run: $(INSTALLED)
	$(BIN)/python manage.py migrate --verbosity 0
	$(BIN)/python manage.py demoadmin
	$(BIN)/python manage.py runserver 127.0.0.1:$(PORT)

# In three processes, each with a server of its own: on two cores, because some tests wait. With ARGS,
# which are those of pytest, in one process:
# ARGS="tests/test_races.py -s" shows the figures of the races.
test: $(INSTALLED)
	$(BIN)/python -m pytest $(or $(ARGS),--numprocesses 3 --dist worksteal)

# The same tests, with a report of the lines that they run. It takes 1.5 times as long. The tests run
# every line of the package and of the tests. On Python 3.11, the report misses a few lines of tests
# after a task was cancelled, because that interpreter stops tracing there.
coverage: $(INSTALLED)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(or $(ARGS),--numprocesses 3 --dist worksteal)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Updates the catalogs of the translations from the texts in the code, and compiles them. It needs GNU
# gettext. LOCALE=it starts a language.
messages: $(INSTALLED)
	cd sessions_redis && ../$(BIN)/django-admin makemessages $(if $(LOCALE),--locale $(LOCALE),--all) --no-obsolete --add-location file
	cd sessions_redis && ../$(BIN)/django-admin compilemessages

# Compares engines, on REDIS_URL or on a server of its own: ARGS="--quick", ARGS="memory scale".
bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks $(ARGS)

# Moves 100,000 sessions of each former engine while 200 visitors are busy: ARGS="db --sessions 10000".
moving: $(INSTALLED)
	$(BIN)/python -m tests.moving_site $(ARGS)

# Bad weather for real sites: Redis restarts, hangs, fills up. ARGS="restart hang", ARGS="--help".
weather: $(VENV)/.installed-weather
	$(BIN)/python -m tests.weather $(ARGS)

# The test suites of other people's applications, such as django-allauth, on this engine. ARGS="--help".
sites: $(INSTALLED)
	$(BIN)/python -m tests.applications $(ARGS)

$(VENV)/.installed-weather: $(INSTALLED) tests/weather/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement tests/weather/requirements.txt
	touch $@

$(VENV)/.installed-bench: $(INSTALLED) benchmarks/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement benchmarks/requirements.txt
	touch $@

# Install again when the requirements have changed.
$(INSTALLED): $(VENV)/pyvenv.cfg requirements.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.txt
	touch $@

$(VENV)/pyvenv.cfg:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)

ifneq ($(HAVE),$(or $(WANT),another))
.PHONY: $(VENV)/pyvenv.cfg
endif

# Two commands do everything on a machine with Python 3.11, git and make:
#   make run                  the demo: a small zoo of trainings that go wrong, with alerts
#   make run LOGDIR=path      watch your own logs, alerts on the console
#   make test                 format, lint, types, imports, tests, the shipped rules

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SCANNER = setup.py watcher/source/_scan.c

.PHONY: run test clean

run: $(VENV)/run.ok
	$(if $(LOGDIR),$(VENV)/bin/watcher run "$(LOGDIR)",$(VENV)/bin/watcher demo)

test: $(VENV)/test.ok
	VENV="$(VENV)" bash tests/check.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.ok: $(VENV)/bin/python pyproject.toml $(SCANNER)
	@echo "installing the watcher into $(VENV) (once)"
	$(PIP) install --editable .
	@touch $@

$(VENV)/test.ok: $(VENV)/bin/python pyproject.toml $(SCANNER)
	@echo "installing the watcher and its test tools into $(VENV) (once)"
	$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/run.ok

clean:
	rm -rf $(VENV) build *.egg-info watcher/source/*.so

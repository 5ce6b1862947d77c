#!/usr/bin/env bash
# Everything that must hold, in the order in which it is cheapest to find out.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${VENV:+$PWD/$VENV/bin:}$PATH"

ruff format --check .
ruff check .
mypy
lint-imports
watcher check
watcher test rules/
pytest -n 2 "$@"

#!/usr/bin/env bash
# What a GPU machine is asked for, in parts: `benches/gpu.sh --help`. Runs gpu.py with $PYTHON,
# else with .venv's Python, else with python3.
set -euo pipefail
here=$(realpath "$(dirname "$0")")
python=python3
if [[ -x $here/../.venv/bin/python ]]; then python=$here/../.venv/bin/python; fi
exec "${PYTHON:-$python}" "$here/gpu.py" "$@"

#!/usr/bin/env bash
# Runs a program on the pretend GPU. README.md has the variables FAKE_*.
#
#   FAKE_LOG=log tests/fakecuda/run.sh target/checked/wninit-torch run GRID --device cuda
set -euo pipefail
here=$(realpath "$(dirname "$0")")
out=${FAKE_OUT:-$here/../../target/fakecuda}
"$here/build.sh" "$out"
torch=$(realpath -m "${LIBTORCH:-$here/../../.venv/libtorch}")
export LD_LIBRARY_PATH=$out:$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_PRELOAD=$out/libfakecuda.so:$out/libfaketorch.so
exec "$@"

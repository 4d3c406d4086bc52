#!/usr/bin/env bash
# Builds the pretend CUDA runtime into OUT (target/fakecuda), unless it is newer than its sources.
#
#   tests/fakecuda/build.sh [OUT]
#
# LIBTORCH names libtorch's folder; default .venv/libtorch. Exit code: 0 built, 3 something is
# missing (the message says what), 1 it does not compile.
set -euo pipefail
cd "$(dirname "$0")"
torch=$(realpath -m "${LIBTORCH:-../../.venv/libtorch}")
out=$(realpath -m "${1:-../../target/fakecuda}")
cuda=$(realpath -m "$torch/../nvidia/cu13/include")

missing() { echo "$1" >&2; exit 3; }
command -v g++ >/dev/null || missing 'g++ is missing: install it (Debian, Ubuntu: apt install g++)'
[[ -e $torch/lib/libtorch_cuda.so ]] || missing "no libtorch with CUDA in $torch: make setup"
[[ -e $cuda/cuda_runtime_api.h ]] || missing "CUDA's headers are not in $cuda: make setup"

mkdir -p "$out"
# library NAME SOURCES -- OPTIONS. Written under another name first: others may be running it.
library() {
    local name=$1 sources=()
    shift
    while [[ $1 != -- ]]; do sources+=("$1"); shift; done
    shift
    local fresh=
    [[ -e $out/$name ]] && fresh=$(find fake.h build.sh "${sources[@]}" -newer "$out/$name")
    [[ -e $out/$name && -z $fresh ]] && return
    g++ -O1 -fPIC -shared -std=c++17 -Wall -Wextra -isystem "$cuda" -o "$out/$name.$$" \
        "${sources[@]}" "$@"
    mv "$out/$name.$$" "$out/$name"
}
library libfakecuda.so log.cpp device.cpp memory.cpp stream.cpp capture.cpp kernel.cpp blas.cpp \
    -- -ldl
library libcuda.so.1 driver.cpp -- "-L$out" -lfakecuda
library libfaketorch.so torch.cpp -- -isystem "$torch/include" "-L$out" -lfakecuda \
    "-L$torch/lib" -ltorch_cuda -ltorch_cpu -lc10_cuda -lc10

#!/usr/bin/env bash
# What a GPU machine is asked for, in at most ten minutes: the golden and stacked tests on CUDA,
# the convolution bake-off and the table of the GPU workloads.
#
#   benches/gpu.sh [OUT]            build, run, write to OUT (target/bench-gpu)
#   benches/gpu.sh --pack DIR       put stripped binaries into DIR, for a machine without Rust
#   WNINIT_BIN=DIR benches/gpu.sh   run those instead of building
#   benches/gpu.sh --cpu [OUT]      the same way on the CPU with tiny sizes: tests this script
#
# PYTHON names the interpreter whose torch (2.11) is used; default .venv, else python3.
# MINUTES is the time that all of it may take (10). Exit code: 0 all well or no GPU, 1 otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."

tests=(golden stacked_equals_alone nn) # tests/torch/NAME.rs; nn: those of the layers, in src/torch/nn

# Builds the test program NAME of the targets that cargo's OPTIONS choose, and copies it: built TO NAME OPTIONS...
built() {
    local binary
    binary=$(cargo test --release "${@:3}" --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/'"$2"'-[0-9a-f]*\)".*/\1/p' | tail -n 1)
    cp "$binary" "$1"
}

pack() {
    local folder=$1
    mkdir -p "$folder"
    cargo build --release
    cp target/release/wninit target/release/wninit-torch "$folder/"
    built "$folder/test-torch" torch -p wninit-torch-program --test torch
    built "$folder/test-nn" wninit_torch -p wninit-torch --lib
    strip --strip-debug "$folder"/*
    du -sh "$folder"
}

if [[ ${1:-} == --pack ]]; then
    pack "${2:?--pack needs a folder}"
    exit
fi
device=cuda quick=()
if [[ ${1:-} == --cpu ]]; then
    device=cpu quick=(--quick)
    shift
fi
out=${1:-target/bench-gpu}

if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python3
    [[ -x .venv/bin/python ]] && PYTHON=.venv/bin/python
fi
if [[ $device == cuda ]] && ! "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "skipped: no GPU"
    exit 0
fi

start=$SECONDS
limit=$((${MINUTES:-10} * 60))
# Seconds that a step may take: what is left, but no more than its share.
within() {
    local left=$((limit - (SECONDS - start) - 5))
    ((left > $1)) && left=$1
    ((left < 1)) && left=1
    echo "$left"
}

mkdir -p "$out"
if [[ -n ${WNINIT_BIN:-} ]]; then
    bin=$WNINIT_BIN
    # Prebuilt binaries look for libtorch where it was when they were built.
    torch=$("$PYTHON" -c 'import torch, pathlib; print(pathlib.Path(torch.__file__).parent / "lib")')
    export LD_LIBRARY_PATH=$torch${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
else
    bin=target/bench-gpu-bin
    pack "$bin"
    start=$SECONDS # building is not what is measured
fi

failed=0
{
    date -u +%FT%TZ
    [[ $device == cuda ]] && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
    "$PYTHON" -c 'import sys, torch; print("torch", torch.__version__, "Python", sys.version.split()[0])'
    "$bin/wninit" doctor 2>&1 || true
} | tee "$out/machine.txt"

for test in "${tests[@]}"; do
    echo "== tests: $test"
    program=$bin/test-torch
    [[ $test == nn ]] && program=$bin/test-nn
    # The test's own fixtures lie where it was built; elsewhere WNINIT_FIXTURES names them.
    if ! WNINIT_FIXTURES=$PWD/tests/fixtures timeout "$(within 120)" "$program" "$test::" --nocapture > "$out/test-$test.txt" 2>&1; then
        failed=1
    fi
    tail -n 15 "$out/test-$test.txt"
done

echo "== convolution bake-off"
timeout "$(within 150)" "$PYTHON" benches/conv_bakeoff.py --device "$device" "${quick[@]}" --out "$out" || failed=1

echo "== table"
seconds=$(within 600)
names=()
[[ $device == cpu ]] && names=(--workloads gpu-mlp-512 gpu-resnet-56)
timeout "$seconds" "$PYTHON" benches/run.py --device "$device" "${quick[@]}" "${names[@]}" --wninit "$bin/wninit" --rounds "${ROUNDS:-3}" \
    --minutes "$(awk "BEGIN { print $seconds / 60 * 0.75 }")" --out "$out" || failed=1

echo "written to $out after $((SECONDS - start)) s"
[[ $device == cuda ]] && echo "keep the figures: benches/run.py --adopt $out/results.json"
exit $failed

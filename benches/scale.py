#!/usr/bin/env python3
"""What a sweep's size costs: seconds and memory of planning, of resuming and of a summary.

Usage: benches/scale.py [--rounds N] [--out FILE]

The grid has 2 depths, 2 initializers, 5 learning rates and as many seeds as the jobs need, so a claim
is decided over thousands of seeds. Its finished rows are those of twenty jobs really trained, with
accuracies drawn anew, since training a million jobs would take days. The programs are started from
outside; wall time is the median over the rounds, memory the peak of the largest process.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import process
from process import PROJECT, WNINIT

PLANNED = (1_000, 10_000, 100_000, 1_000_000)
FINISHED = 100_000  # the largest sweep whose rows are written
GRID = """name = "scale"
[base]
dataset = "digits"
model = "mlp"
width = 16
epochs = 1
[grid]
depth = [2, 10]
init = ["orthogonal_datadep", "orthogonal_proposed"]
lr = [0.0003, 0.001, 0.003, 0.01, 0.03]
seed = {{ count = {seeds} }}
[[claim]]
text = "With 10 layers the proposed gain is more accurate."
metric = "test_acc"
where = {{ depth = 10 }}
compare = {{ axis = "init", better = "orthogonal_proposed", than = "orthogonal_datadep" }}
"""


def timed(command: list[str], rounds: int, log: Path) -> tuple[float, float]:
    """The median of the seconds of `command`, and its peak memory in MiB."""
    costs = [process.run(command, log) for _ in range(rounds)]
    return statistics.median(cost.wall_s for cost in costs), max(cost.peak_mib for cost in costs)


def finish(folder: Path, plan: Path, trained: list[dict]) -> None:
    """Write a row of runs.csv for each job of the plan: a trained row's, with accuracies of its own."""
    draw = random.Random(0)
    with plan.open(newline="") as jobs, (folder / "runs.csv").open("w", newline="") as runs:
        out = csv.DictWriter(runs, trained[0].keys(), lineterminator="\n")
        out.writeheader()
        for number, job in enumerate(csv.DictReader(jobs)):
            row = trained[number % len(trained)] | job
            accuracy = f"{min(1.0, max(0.0, draw.gauss(0.6, 0.1))):.4f}"
            out.writerow(row | {"test_acc": accuracy, "val_acc": accuracy, "best_val_acc": accuracy})


def row(jobs: int, rounds: int, root: Path) -> list[str]:
    """A line of the table: of so many jobs."""
    grid, results, log = root / "scale.toml", root / "results", root / "log"
    wninit = [str(WNINIT)]
    where = ["--results", str(results)]
    grid.write_text(GRID.format(seeds=1))
    subprocess.run([*wninit, "run", str(grid), *where, "-q"], check=True, stdout=subprocess.DEVNULL)
    folder = results / "scale"
    with (folder / "runs.csv").open(newline="") as runs:
        trained = list(csv.DictReader(runs))

    grid.write_text(GRID.format(seeds=jobs // 20))
    cells = [f"{jobs:,}"]
    seconds, peak = timed([*wninit, "plan", str(grid), "--results", str(root / "none")], rounds, log)
    cells += [f"{seconds:.2f}", f"{peak:,.0f}"]
    if jobs > FINISHED:
        return cells + ["", "", "", "", ""]
    plan = root / "plan.csv"
    with plan.open("w") as out:
        subprocess.run([*wninit, "plan", str(grid), "--csv", *where], check=True, stdout=out)
    finish(folder, plan, trained)
    cells.append(f"{(folder / 'runs.csv').stat().st_size / 1e6:,.1f}")
    for command in (["run", str(grid), *where], ["summary", str(folder)]):
        seconds, peak = timed([*wninit, *command], rounds, log)
        cells += [f"{seconds:.2f}", f"{peak:,.0f}"]
    return cells


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--out", type=Path, default=PROJECT / "benches/SCALE.md")
    args = options.parse_args()
    lines = [
        "# What a sweep's size costs",
        "",
        "Made by `make bench-scale`; do not edit. Wall seconds and peak MiB of the whole process. *Resume* is `wninit run`",
        "on a sweep whose rows are all there, so that it trains nothing; *summary* is `wninit summary`, with a claim,",
        "intervals and a ranking over all seeds. Rows are those of trained jobs with accuracies drawn anew.",
        "",
        "| jobs | plan s | MiB | runs.csv MB | resume s | MiB | summary s | MiB |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for jobs in PLANNED:
        with tempfile.TemporaryDirectory() as folder:
            lines.append("| " + " | ".join(row(jobs, args.rounds, Path(folder))) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    lines += ["", f"Median of {args.rounds}; {process.cpu()}, {os.cpu_count()} cores, commit {process.commit()}, {time.strftime('%Y-%m-%d')}."]
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What decided claims cost: core-seconds until the claims of a grid are supported or refuted.

Usage: benches/decided.py [GRID] [--seeds N ...] [--max-seeds N] [--out FILE]
       benches/decided.py --committed

Three ways to the same claims at the same error rate, 5 % for each:

- the fixed grid: every learning rate with N seeds, each arm judged at its best rate;
- the same with a rate per arm chosen on two seeds by validation accuracy and judged on N fresh ones
  (`wninit confirm`), which trains the other rates twice only;
- that with seeds added until the claims are decided (`wninit confirm --until-decided`), six at first.

N must be planned before anything is known; `--seeds` takes several. Core-seconds are user and system
time of the programs, reading the data and deciding included.

The second table is about the paper's experiments, which are too large to train three times: their committed
runs say how many seconds each setting takes, and from how many seeds on the claims are decided if
seeds are added one at a time. `--committed` writes only this table.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from pathlib import Path

import process
from process import PROJECT, WNINIT

EXPLORING = "[100, 101]"
PAPER = PROJECT / "results/paper"
LEAST = 6  # fewer fresh seeds are exploratory
COMMITTED = "## The paper's experiments\n"


class Way:
    """One way of deciding the claims, in a folder of its own."""

    def __init__(self, name: str, root: Path, data: Path):
        self.name, self.root, self.data = name, root, data
        self.core_s = 0.0

    def wninit(self, *words: str) -> None:
        """Run the program and add what it cost."""
        where = ["--results", str(self.root), "--data", str(self.data), "-q"]
        self.core_s += process.run([str(WNINIT), *words, *where], self.root / "log").core_s

    def row(self, folders: list[Path], fixed_s: float | None) -> list[str]:
        """Its line of the table: `folders` are its sweeps, the last one has the verdicts."""
        self.core_s += process.run([str(WNINIT), "summary", str(folders[-1])], self.root / "log").core_s
        runs = sum(len(rows(folder / "runs.csv")) for folder in folders)
        verdicts = [claim["verdict"] for claim in rows(folders[-1] / "summary/claims.csv")]
        times = f"{fixed_s / self.core_s:.2f}" if fixed_s else "1"
        return [self.name, f"{runs:,}", f"{self.core_s:,.0f}", times, decided_of(folders[-1]), ", ".join(verdicts)]


def with_seeds(grid: Path, seeds: str, root: Path) -> str:
    """A copy of the grid with another axis of seeds."""
    text, changed = re.subn(r"^seed = (\[.*\]|\{.*\})", f"seed = {seeds}", grid.read_text(), flags=re.MULTILINE)
    if changed != 1:
        raise SystemExit(f"{grid}: {changed} lines give an axis of seeds; there must be one")
    copy = root / grid.name
    copy.write_text(text)
    return str(copy)


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def seconds(runs: list[dict]) -> float:
    return sum(float(run["train_seconds"]) for run in runs)


def decided(folder: Path) -> set[str]:
    """The claims that a sweep's summary supports or refutes."""
    return {claim["text"] for claim in rows(folder / "summary/claims.csv") if claim["verdict"] in ("supported", "refuted")}


def decided_of(folder: Path) -> str:
    """`2 of 3` claims."""
    return f"{len(decided(folder))} of {len(rows(folder / 'summary/claims.csv'))}"


def decided_at(sweep: str, fresh: list[dict], seeds: int, wanted: set[str], root: Path) -> tuple[int, list[dict]] | None:
    """The fresh seeds, six or more, from which on these claims stay decided by the tests that allow a look after each seed,
    and their runs; `None` if they do not."""
    known, log, found = {run["job_id"]: run for run in fresh}, root / "log", None
    for count in range(LEAST, seeds + 1):
        name, where = f"until-{count}", ["--results", str(root), "-q"]
        rule = ["--until-decided", "--seeds", str(count), "--max-seeds", str(seeds)]
        process.run([str(WNINIT), "confirm", str(PAPER / sweep), *rule, "--plan-only", "--name", name, *where], log)
        folder = root / name
        process.run([str(WNINIT), "plan", str(folder / "grid.toml"), "--csv", *where], folder / "plan.csv")
        runs = [known[job["job_id"]] for job in rows(folder / "plan.csv")]
        with (folder / "runs.csv").open("w", newline="") as file:
            out = csv.DictWriter(file, fresh[0].keys(), lineterminator="\n")
            out.writeheader()
            out.writerows(runs)
        process.run([str(WNINIT), "summary", str(folder), "-q"], log)
        found = (found or (count, runs)) if wanted <= decided(folder) else None
    return found


def committed() -> list[str]:
    """The table of the committed sweeps with fresh seeds, whole ones only."""
    lines = []
    for folder in sorted(PAPER.glob("*-confirm")):
        sweep = folder.name.removesuffix("-confirm")
        explored, fresh = rows(PAPER / sweep / "runs.csv"), rows(folder / "runs.csv")
        if len(fresh) < len(rows(folder / "plan.csv")):
            continue
        settings = defaultdict(list)
        for run in explored:
            fields = list(run.items())[1 : list(run).index("outcome")]
            settings[tuple(field for field in fields if not field[0].endswith("seed"))].append(run)
        seeds = len({(run["init_seed"], run["data_seed"]) for run in fresh})
        fixed_s = seeds * sum(seconds(runs) / len(runs) for runs in settings.values())
        said = decided_of(folder)
        ways = [("fixed grid", seeds, len(settings) * seeds, fixed_s, ""),
                ("explored, then fresh seeds", seeds, len(explored) + len(fresh), seconds(explored) + seconds(fresh), said)]
        with tempfile.TemporaryDirectory() as root:
            if until := decided_at(sweep, fresh, seeds, decided(folder), Path(root)):
                n, runs = until[0], [*explored, *until[1]]
                ways.append(("explored, then fresh seeds until these are decided", n, len(runs), seconds(runs), said))
        lines += [f"| `{sweep}` | {way} | {n} | {runs:,} | {core_s:,.0f} | {fixed_s / core_s:.1f} | {found} |"
                  for way, n, runs, core_s, found in ways]
        print(*lines[-len(ways):], sep="\n", file=sys.stderr, flush=True)
    return [
        COMMITTED,
        "Computed from the committed runs (`benches/decided.py --committed`): seconds of training, on the machines that trained them, as",
        "`train_seconds` has them. The fixed grid was not trained: its seconds are the mean of each setting's explored runs, times the seeds,",
        "and that it decides the same claims is an assumption. With six seeds, had one known that they suffice, it would cost six tenths of that.",
        "",
        "| sweep | way | seeds | runs | core-seconds | times | decided |",
        "|---|---|--:|--:|--:|--:|--:|",
        *lines,
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("grid", nargs="?", type=Path, default=PROJECT / "sweeps/depth.toml")
    options.add_argument("--seeds", type=int, nargs="+", default=[10])
    options.add_argument("--max-seeds", type=int, default=60)
    options.add_argument("--data", type=Path, default=PROJECT / "data")
    options.add_argument("--out", type=Path, default=PROJECT / "benches/DECIDED.md")
    options.add_argument("--committed", action="store_true", help="only write the table of the committed runs")
    args = options.parse_args()
    if args.committed:
        trained = args.out.read_text().partition(COMMITTED)[0] if args.out.exists() else ""
        args.out.write_text(trained + "\n".join(committed()) + "\n")
        return
    sweep = tomllib.loads(args.grid.read_text())["name"]
    table: list[list[str]] = []

    def way(name: str, seeds: str, *confirm: str, fixed_s: float | None = None) -> float:
        with tempfile.TemporaryDirectory() as folder:
            this = Way(name, Path(folder), args.data)
            folders = [this.root / sweep]
            this.wninit("run", with_seeds(args.grid, seeds, this.root))
            if confirm:
                this.wninit("confirm", str(folders[0]), *confirm)
                folders.append(this.root / f"{sweep}-confirm")
            table.append(this.row(folders, fixed_s))
        print("  ".join(table[-1]), file=sys.stderr, flush=True)
        return this.core_s

    for seeds in args.seeds:
        fixed_s = way(f"fixed grid, {seeds} seeds", f"{{ count = {seeds} }}")
        way(f"two exploring, {seeds} fresh seeds", EXPLORING, "--seeds", str(seeds), fixed_s=fixed_s)
    until = ["--seeds", "6", "--until-decided", "--max-seeds", str(args.max_seeds)]
    way("two exploring, fresh seeds until decided", EXPLORING, *until, fixed_s=fixed_s)

    lines = [
        "# What decided claims cost",
        "",
        f"Made by `make bench-decided`; do not edit. Claims of `{args.grid.name}`, each at an error rate of 5 %. *Times*: the",
        "core-seconds of the fixed grid above divided by its own.",
        "",
        "| way | runs | core-seconds | times | decided | verdicts |",
        "|---|--:|--:|--:|--:|---|",
        *("| " + " | ".join(row) + " |" for row in table),
        "",
        f"One run of each; {process.cpu()}, {os.cpu_count()} cores, commit {process.commit()}, {time.strftime('%Y-%m-%d')}.",
        "",
        *committed(),
    ]
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

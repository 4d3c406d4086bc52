"""What the notebooks share: the sweep's folder, the labels of its initializers, and their look in the report."""

import csv
import hashlib
import os
from collections import defaultdict
from pathlib import Path

#: The sweep that `RESULTS` names, else a committed one.
FOLDER = Path(os.environ.get("RESULTS") or "../results/paper/depth")


def rows(name):
    """The rows of a table as dictionaries."""
    with open(FOLDER / name, newline="") as file:
        return list(csv.DictReader(file))


for table, command in [("runs.csv", "run` or `wninit merge"), ("summary/cells.csv", "summary")]:
    if not (FOLDER / table).exists() or not rows(table):
        raise FileNotFoundError(f"{FOLDER / table} is missing or empty: `wninit {command}` writes it, RESULTS names another sweep")
planned = {row["job_id"] for row in rows("plan.csv")}
if sum(row["job_id"] in planned for row in rows("runs.csv")) != sum(int(row["n_finished"]) for row in rows("summary/cells.csv")):
    raise RuntimeError(f"{FOLDER / 'summary'} is not of the runs in runs.csv: run `wninit merge` if there are shards, then `wninit summary`")

# The report's palette, dashes and markers, in the order of summary/initializers.csv (src/report/).
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#b5608f", "#d98c00", "#3d9fd6", "#000000", "#b5a900"]
DASHES = ["-", (0, (6, 3)), (0, (2, 3)), (0, (9, 3, 2, 3)), (0, (12, 4))]
MARKERS = [("o", True), ("s", True), ("^", True), ("D", True), ("o", False), ("s", False), ("D", False)]


def look(arm):
    """Matplotlib's style of the arm with this place in summary/initializers.csv."""
    colour = COLOURS[arm % len(COLOURS)]
    marker, filled = MARKERS[arm % len(MARKERS)]
    face = colour if filled else "white"
    return dict(color=colour, linestyle=DASHES[arm % len(DASHES)], marker=marker, markerfacecolor=face)


def labels(inits, rules):
    """The initializers' names as in summary/: a name with two definitions gets the first digits of each one's hash."""
    inits, rules = list(inits), [rule or "" for rule in rules]
    definitions = defaultdict(set)
    for init, rule in zip(inits, rules):
        definitions[init].add(rule)

    def label(init, rule):
        several = rule and len(definitions[init]) > 1
        return f"{init}@{hashlib.sha256(rule.encode()).hexdigest()[:4]}" if several else init

    return [label(init, rule) for init, rule in zip(inits, rules)]


def source():
    """The sweep, the number of its runs, and the commits of the program that trained them."""
    commits = [row["git_sha"][:7] for row in rows("runs.csv")]
    return f"{FOLDER.resolve().name}: {len(commits)} runs, commit {', '.join(sorted(set(commits)))}"

"""A sweep's results for the notebooks: the plan, the outcome of each run, and the style of each initializer.

A diverged run is a result: its accuracy counts as that of a guess among the classes. A run that failed or is
missing is no result, and is only counted.
"""

import os
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

SEEDS = ["seed", "init_seed", "data_seed"]
OUTCOMES = ["planned", "ok", "diverged", "failed", "missing"]
# What a practitioner tunes; what is left beside these and the initializer is the task.
TUNED = ["lr", "momentum", "weight_decay", "schedule", "warmup_epochs", "warmup_lr", "batch_size", "micro_batch"]

# The fields besides the initializer that tell apart what is compared, and what shows that in a name.
ARM_FIELDS = {"norm": r"\+(batch|no)norm", "branch_scale": r"\+scale", "warmup_epochs": r"\+warmup"}

# Okabe and Ito's colours, one a gain and one for initializers that are not built in; the direction shows in line and marker.
GAINS = {"": "#000000", "datadep": "#D55E00", "proposed": "#0072B2", "proposed_backward": "#56B4E9", "hanin": "#009E73", "lsuv": "#E69F00"}
OWN = "#CC79A7"


class Sweep:
    """The folder of a sweep, finished or not, its shards included: `RESULTS`, else `../results/paper/depth-lr`."""

    def __init__(self, folder=None):
        self.folder = Path(folder or os.environ.get("RESULTS") or "../results/paper/depth-lr")
        if not (self.folder / "plan.csv").exists():
            raise FileNotFoundError(
                f"{self.folder.resolve()} holds no plan.csv: name a sweep's folder in RESULTS, "
                "or make one with `make sweep GRID=sweeps/depth.toml`"
            )
        #: Tables of `wninit summary`: the initializers, and its cells (the runs that differ in their seeds alone).
        self.initializers, self.cells = self.summary("initializers"), self.summary("cells")
        plan, finished, failures = self.read("plan.csv"), self.read("runs.csv"), self.read("failures.csv")
        self.plan = plan
        axes = list(self.cells.columns[: self.cells.columns.get_loc("n_planned")])
        numbered = self.cells[axes].assign(cell=self.cells.index)
        plan["cell"] = plan[axes].merge(numbered, on=axes, how="left")["cell"] if axes else 0
        #: The initializers, with what else tells them apart.
        self.inits = list(self.initializers["init"])
        arms = [field for field, mark in ARM_FIELDS.items() if any(re.search(mark, name) for name in self.inits)]
        plan["init"] = arm_names(plan, arms)

        measured = finished.reindex(columns=["job_id", "outcome", "best_val_acc", "test_acc"])
        runs = plan.merge(measured, on="job_id", how="left")
        runs["outcome"] = runs["outcome"].astype(object)
        unfinished = runs["outcome"].isna()
        failed = runs.loc[unfinished, "job_id"].isin(failures["job_id"])
        runs.loc[unfinished, "outcome"] = np.where(failed, "failed", "missing")
        #: One row for each planned job: its fields, `outcome`, `best_val_acc` and `test_acc`.
        self.runs = runs

        own = runs["data_classes"] if "data_classes" in runs else float("nan")
        classes = runs["synthetic_classes"].fillna(own).fillna(runs["dataset"].map({"cifar100": 100})).fillna(10).astype(float)
        runs["chance"] = 1 / classes
        done = runs[runs["outcome"].isin(["ok", "diverged"])].copy()
        if len(done) != self.cells["n_finished"].sum():
            raise RuntimeError(f"{self.folder}/summary is older than the results: run `wninit summary {self.folder}`")
        # The `n_at_chance` converged runs of a cell that are no better than guessing are those with the lowest accuracies.
        converged = done[done["outcome"] == "ok"]
        rank = converged.groupby("cell")["test_acc"].rank(method="first", na_option="top")
        done["success"] = (rank > converged["cell"].map(self.cells["n_at_chance"])).reindex(done.index, fill_value=False)
        for metric in ["best_val_acc", "test_acc"]:
            done[metric] = done[metric].astype(float).where(done["outcome"] == "ok", done["chance"])
        #: The finished runs, the diverged ones at chance; `success`: converged and better than guessing.
        self.done = done
        self.chance = runs["chance"].mean()

        #: What the plan varies, the seeds aside and what is part of an initializer's name.
        self.varying = [c for c in plan.columns if c not in ["job_id", "cell", *SEEDS, *arms] and plan[c].nunique(dropna=False) > 1]
        self.size = "depth" if plan["depth"].notna().any() else "blocks"
        self.size_label = {"depth": "depth (layers)", "blocks": "residual blocks per stage"}[self.size]
        #: The sizes, ascending.
        self.sizes = sorted(plan[self.size].dropna().unique())
        #: Whatever else varies is chosen on validation, as a learning rate is.
        self.chosen = [c for c in self.varying if c not in [self.size, "init"]]
        #: The tasks: what varies beside the initializer and what one tunes.
        self.task = [c for c in self.varying if c != "init" and c not in TUNED]

    def read(self, name):
        """A table of the sweep, those of its shards included; empty if there is none."""
        files = [f for f in [self.folder / name, *sorted(self.folder.glob(f"shards/*/{name}"))] if f.exists()]
        tables = [pd.read_csv(f, keep_default_na=False, na_values=[""]) for f in files]
        tables = [table for table in tables if len(table)]
        return pd.concat(tables).drop_duplicates("job_id", keep="first") if tables else pd.DataFrame(columns=["job_id"])

    def summary(self, name):
        """A table of `wninit summary`."""
        file = self.folder / "summary" / f"{name}.csv"
        if not file.exists():
            raise FileNotFoundError(f"{file.resolve()} is missing: `wninit summary {self.folder}` writes it")
        return pd.read_csv(file, keep_default_na=False, na_values=[""])

    def counts(self):
        """Runs by initializer and outcome, the planned ones first."""
        counts = self.initializers.set_index("init")[[f"n_{outcome}" for outcome in OUTCOMES]]
        counts.columns = pd.Index(OUTCOMES, name="outcome")
        counts.loc["all"] = counts.sum()
        return counts

    def diverged(self):
        """Diverged runs by initializer and size."""
        runs = self.runs[self.runs["outcome"] == "diverged"]
        table = pd.crosstab(runs["init"], runs[self.size])
        table = table.reindex(index=self.inits, columns=self.sizes, fill_value=0)
        return table.rename_axis(columns=f"diverged runs by {self.size}")

    def best(self):
        """For each initializer and size the settings with the best mean validation accuracy over seeds."""
        cells = self.done.groupby(["init", self.size, *self.chosen], sort=False, dropna=False).agg(
            n=("test_acc", "size"),
            diverged=("outcome", lambda o: (o == "diverged").sum()),
            val=("best_val_acc", "mean"),
            mean=("test_acc", "mean"),
            sd=("test_acc", "std"),
        ).reset_index()
        best = cells.sort_values("val", ascending=False, kind="stable").drop_duplicates(["init", self.size])
        return best.sort_values(["init", self.size])

    def by_task(self):
        """The finished runs, a table for each task."""
        return [runs for _, runs in self.done.groupby(self.task, dropna=False)] if self.task else [self.done]

    def beside(self, i):
        """A factor by which to shift initializer i on a log axis of sizes, so that all can be seen."""
        return 1.025 ** (2 * i - len(self.inits) + 1)

    def size_axis(self, axes):
        """Makes the x axis one of sizes, log-scaled, with the planned sizes as ticks."""
        axes.set_xscale("log")
        axes.margins(x=0.08)
        axes.set_xticks(self.sizes, [f"{size:g}" for size in self.sizes])
        axes.tick_params(axis="x", labelsize=8)
        axes.minorticks_off()
        axes.set_xlabel(self.size_label)

    def chance_line(self, axes):
        """A dotted line at chance, where diverged runs count."""
        axes.axhline(self.chance, color="0.5", linewidth=1, linestyle=":")


def arm_names(plan, fields):
    """The initializers' names, with what else tells them apart."""
    names = plan["init"].astype(str)
    if "norm" in fields:
        names = names + plan["norm"].map({"batch": "+batchnorm", "none": "+nonorm"}).fillna("")
    if "branch_scale" in fields:
        names = names + plan["branch_scale"].map(lambda scale: f"+scale{scale:g}", na_action="ignore").fillna("")
    if "warmup_epochs" in fields:
        epochs = plan["warmup_epochs"].fillna(0).astype(int)
        names = names + np.where(epochs > 0, "+warmup" + epochs.astype(str), "")
    return names


def look(init, marker=True):
    """Colour, line and marker of an initializer."""
    init, _, besides = init.partition("+")
    direction, _, gain = init.partition("_")
    he = direction == "he"
    style = dict(color=GAINS.get(gain, OWN), linestyle=":" if besides else "--" if he else "-")
    if marker:
        style |= dict(marker="o", markerfacecolor="white", markersize=4) if he else dict(marker="s", markersize=4)
    return style


def tidy(axes, title=None):
    """What all pictures share."""
    if title:
        axes.set_title(title, fontsize=11, loc="left")
    axes.grid(axis="y", color="0.92")
    axes.spines[["top", "right"]].set_visible(False)


def panels(n, columns=4, height=2.6, **options):
    """A figure of n axes in rows of `columns`, and the list of them."""
    columns = min(n, columns)
    rows = -(-n // columns)
    size = (max(7.5, 2.4 * columns), height * rows + 0.8)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)
    for axes in grid.flat[n:]:
        axes.remove()
    return figure, list(grid.flat[:n])


def legend(figure, ncols=2, side="lower"):
    """One legend below the axes of a figure, or above them (`side="upper"`), for all of them."""
    handles = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels())}
    if handles:
        figure.legend(handles.values(), handles, loc=f"outside {side} center", ncols=ncols, frameon=False)

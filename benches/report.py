"""Measured sessions as Markdown."""

from __future__ import annotations

import itertools
import math
import statistics

from workloads import CLASSES

CHANCE = 1 / CLASSES


def per_hour(measurements: list[dict]) -> list[float]:
    """Jobs per hour, start-up left out."""
    return [3600 * m["jobs"] / m["seconds"] for m in measurements]


def per_hour_alone(measurements: list[dict]) -> list[float]:
    """Jobs per hour if every job were a process of its own."""
    return [3600 / (m["seconds"] / m["jobs"] + m["startup"]) for m in measurements]


def spread(values: list[float], form: str = ",.0f") -> str:
    """`median (min–max)`."""
    middle = format(statistics.median(values), form)
    return f"{middle} ({min(values):{form}}–{max(values):{form}})" if len(values) > 1 else middle


def figures(workload: dict) -> dict:
    """What the table shows, as numbers; None where a program was not run."""
    rounds = workload["rounds"]
    median = {p: statistics.median(per_hour(ms)) for p, ms in rounds.items()}
    ratio = lambda base: median["c"] / median[base] if {"c", base} <= median.keys() else None  # noqa: E731
    rate = {p: value / 3600 * workload["job_flop"] for p, value in median.items()}
    products = {kind: statistics.median(rates) for kind, rates in workload["gemm"].items()}
    best = max(products, key=products.get, default=None)
    alone = None
    if {"a", "c"} <= median.keys():
        alone = median["c"] / statistics.median(per_hour_alone(rounds["a"]))
    return {"vs_a": ratio("a"), "vs_b": ratio("b"), "vs_before": ratio("before"), "vs_a_alone": alone, "rate": rate, "products": products,
            "best": best, "fraction": rate["c"] / products[best] if "c" in rate and best else None,
            "peak": {p: max(m["peak_mib"] for m in ms) for p, ms in rounds.items() if "peak_mib" in ms[0]}}


def against(value: float | None, target: float | None, unit: str) -> str:
    """`3.1× (≥ 2×: met)`."""
    if value is None:
        return "–"
    text = f"{value:.2f}{unit}"
    return text if target is None else f"{text} (≥ {target:g}{unit}: {'met' if value >= target else 'missed'})"


def table(session: dict) -> str:
    """The session's main table and the agreement of the accuracies."""
    rows = ["| workload | (a) jobs/h | (b) jobs/h | (c) jobs/h | (c) vs (a) | (c) vs (b) | (a) a process a job | "
            "GFLOP/s (a) / (b) / (c) | best product, GFLOP/s | fraction of it | peak MiB (a) / (b) / (c) |",
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for workload in session["workloads"]:
        f, rounds, targets = figures(workload), workload["rounds"], workload["targets"]
        cells = [workload["title"] + rounds_so_far(workload, session["rounds"]), *(spread(per_hour(rounds[p])) if p in rounds else "–" for p in "abc"),
                 against(f["vs_a"], targets.get("vs_a"), "×"), against(f["vs_b"], targets.get("vs_b"), "×"),
                 against(f["vs_a_alone"], None, "×"),
                 " / ".join(f"{f['rate'][p] / 1e9:,.0f}" if p in f["rate"] else "–" for p in "abc"),
                 f"{f['products'][f['best']] / 1e9:,.0f}, {f['best']}" if f["best"] else "–",
                 against(f["fraction"], targets.get("fraction"), ""),
                 " / ".join(f"{f['peak'][p]:,.0f}" if p in f["peak"] else "–" for p in "abc")]
        rows.append("| " + " | ".join(cells) + " |")
    rows += earlier(session)
    rows += ["", "| workload | judged on | test accuracy (a) | (b) | (c) | agree? |", "|---|---|--:|--:|--:|---|"]
    for workload in session["workloads"]:
        values = accuracies(workload)
        cells = [workload["title"], (workload.get("judged") or workload)["title"]]
        cells += [accuracy(values[p]) if p in values else "–" for p in "abc"]
        rows.append("| " + " | ".join([*cells, agreement(workload)]) + " |")
    return "\n".join(rows)


def earlier(session: dict) -> list[str]:
    """The table of an earlier wninit beside this one, measured in the same rounds; nothing if none was."""
    both = [w for w in session["workloads"] if {"before", "c"} <= w["rounds"].keys()]
    if not both:
        return []
    commits = ", ".join(sorted({m["git_sha"] for w in both for m in w["rounds"]["before"]}))
    rows = ["", f"| workload | wninit of {commits}, jobs/h | (c) jobs/h | (c) vs before | peak MiB before / (c) |", "|---|--:|--:|--:|--:|"]
    for workload in both:
        f = figures(workload)
        cells = [workload["title"], *(spread(per_hour(workload["rounds"][p])) for p in ("before", "c")),
                 against(f["vs_before"], None, "×"), " / ".join(f"{f['peak'][p]:,.0f}" for p in ("before", "c") if p in f["peak"])]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def rounds_so_far(workload: dict, wanted: int) -> str:
    """Which programs were measured in fewer rounds than the others; empty if none."""
    counts = {p: len(ms) for p, ms in workload["rounds"].items()}
    if all(count >= wanted for count in counts.values()):
        return ""
    return " (unfinished, rounds: " + ", ".join(f"{p} {n}" for p, n in counts.items()) + ")"


def accuracies(workload: dict) -> dict[str, list[float]]:
    """Test accuracy by seed of each program, of what is judged; rounds repeat the same seeds."""
    if workload.get("judged"):
        return workload["judged"]["test_acc"]
    return {p: ms[0]["test_acc"] for p, ms in workload["rounds"].items() if p != "before"}


def accuracy(values: list[float]) -> str:
    """`mean (n seeds)`, with the range."""
    return f"{statistics.mean(values):.3f} ({min(values):.3f}–{max(values):.3f}, n = {len(values)})"


def agreement(workload: dict) -> str:
    """Whether every program has learnt something, and the mean accuracies differ by no more than
    seeds explain: four standard errors of the difference, with the seeds' sd pooled over the programs.
    Programs that guess agree whatever they compute."""
    values = accuracies(workload)
    test = (workload.get("judged") or workload)["test"]
    bound = CHANCE + 4 * math.sqrt(CHANCE * (1 - CHANCE) / test)
    guessing = [p for p, group in values.items() if statistics.mean(group) <= bound]
    if guessing:
        return f"NOT TESTED: {', '.join(guessing)} at chance ({CHANCE:g})"
    groups = list(values.values())
    deviations = [value - statistics.mean(group) for group in groups for value in group]
    freedom = len(deviations) - len(groups)
    least = math.sqrt(0.25 / test)  # what a test set of this size leaves open
    sd = max(math.sqrt(sum(d * d for d in deviations) / freedom) if freedom else 0.0, least)
    pairs = itertools.combinations(values.items(), 2)
    far = [f"{i}–{j}" for (i, a), (j, b) in pairs
           if abs(statistics.mean(a) - statistics.mean(b)) > 4 * sd * math.sqrt(1 / len(a) + 1 / len(b))]
    return "yes" if not far else "NO: " + ", ".join(far)


def markdown(sessions: list[dict]) -> str:
    """RESULTS.md."""
    lines = ["# Results of the bench", "",
             "Jobs per hour of (a) a conventional PyTorch harness, (b) a careful PyTorch loop and (c) `wninit`, on the same",
             "data, networks, batch size, epochs and evaluation; README.md beside this file says how they are measured.",
             "Median over the rounds, (min–max) behind it. Made by `benches/run.py`; do not edit."]
    for session in sessions:
        machine = session["gpu"] or session["cpu"]
        others = [m["others"] for w in session["workloads"] for ms in w["rounds"].values() for m in ms if m["others"] is not None]
        lines += ["", f"## {machine}, {session['started_at'][:10]}", ""]
        if session["quick"]:
            lines += ["**Quick mode: tiny workloads that test the way. These figures measure nothing.**", ""]
        if session.get("busy"):
            lines += ["**The machine was busy with other work: the ratios are what to read, and with care.**", ""]
        lines += [table(session), "",
                  f"n = {session['rounds']} rounds in turns (ABCABC…). CPU: {session['cpu']}, {session['cores']} cores"
                  + (f"; GPU: {session['gpu']}" if session["gpu"] else "")
                  + f"; load average at the start {session['load_average']:.2f}"
                  + (f", other processes used {statistics.median(others):.0%} of the machine while it was measured" if others else "")
                  + f"; torch {session['torch']}, Python {session['python']}, commit {session['git_sha']}"
                  + binary(session) + f"; {session['started_at']}."]
        for failed in session.get("failed", []):
            lines += ["", f"Not measured: {failed['name']}: `{failed['error'].strip().splitlines()[-1]}`"]
    return "\n".join(lines) + "\n"


def binary(session: dict) -> str:
    """The commit of which wninit was built, where it is not the checkout's."""
    shas = sorted({m["git_sha"] for w in session["workloads"] for m in w["rounds"].get("c", [])})
    return "" if shas in ([], [session["git_sha"]]) else f" (wninit built of {', '.join(shas)})"

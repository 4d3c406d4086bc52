"""Writes the tables and figures of docs/reproduction.md and docs/reproduction/*.md from results/paper.

    python analysis/reproduction.py            rewrite what stands between the two marks of each page
    python analysis/reproduction.py --check    exit with 1 if a page is not up to date

Needs Python 3.11 and no packages. What is said of each folder comes from its grid.toml, runs.csv (or
signal.csv, curvature.csv) and summary/*.csv, as `wninit summary` wrote them. Its figures are the files
docs/figures/FOLDER/NAME.svg, with the captions NAME.txt, as `wninit figures` writes them.
"""

import csv
import math
import statistics
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean, stdev

ROOT = Path(__file__).resolve().parent.parent
PAPER = ROOT / "results" / "paper"
DOCS = ROOT / "docs"
BEGIN, END = "<!-- begin: analysis/reproduction.py -->\n", "<!-- end: analysis/reproduction.py -->\n"

# The pages and the folders that each is about; of the paper's experiments, the variants of a grid.
VARIANTS = ["", "-confirm", "-fresh", "-wide", "-rates", "-small", "-small-fresh", "-small-confirm", "-deep", "-deepest"]
EXPERIMENTS = {
    "e1-signals": ["signal"],
    "e2-mlp-depth": ["mlp-depth"],
    "e3-hyperparameters": ["mlp-hyperparameters"],
    "e4-cnn-depth": ["cnn-depth"],
    "e5-wrn-depth": ["wrn-depth"],
    "e6-seeds": ["seeds"],
    "e7-test-error": ["test-error"],
    "e8-curvature": ["curvature"],
}
FURTHER = ["depth", "depth-lr", "trainability", "resnet", "initializers", "precision", "reference"]


def rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def number(text: str, digits: int = 3) -> str:
    return f"{float(text):.{digits}f}" if text else ""


def p_value(text: str) -> str:
    if not text:
        return ""
    p = float(text)
    return f"{p:.1e}" if p < 0.001 else f"{p:.3f}"


def table(header: list[str], body: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in body]


def signals() -> list[str]:
    """Norms of activations and gradients from one end of the network to the other, mean and range of the seeds."""
    networks = defaultdict(lambda: defaultdict(list))
    for row in rows(PAPER / "signal" / "signal.csv"):
        networks[row["net"], row["init"]][row["init_seed"]].append(row)
    body = []
    for (net, init), seeds in networks.items():
        ratios = defaultdict(list)
        for layers in seeds.values():
            first, *_, last = sorted(layers, key=lambda row: int(row["layer"]))
            ratios["forward"].append(float(last["forward_ratio"]))
            ratios["backward"].append(float(first["backward_ratio"]))
        cells = [f"{statistics.mean(r):.3g} ({min(r):.3g} to {max(r):.3g})" for r in ratios.values()]
        body.append([net, init, *cells, str(len(seeds))])
    head = ["network", "initializer", "activations: last layer over input", "gradients: input over last layer", "seeds"]
    return table(head, body)


def made_by(folder: str) -> str:
    """The command that makes a folder of results again, in `results/`."""
    if folder == "signal":
        return "make paper ONLY=signal"
    for name in sorted((grid.stem for grid in (ROOT / "sweeps" / "paper").glob("*.toml")), key=len, reverse=True):
        if folder == name or folder.startswith(name + "-"):
            profile = folder.removeprefix(name).removesuffix("-confirm").removesuffix("-fresh").removeprefix("-")
            if profile in ("", "small"):
                return f"make paper ONLY={name}" + (f" PROFILE={profile}" if profile else "")
            return f"make sweep GRID=sweeps/paper/{name}.toml PROFILE={profile}"
    return f"make sweep GRID=sweeps/{folder}.toml"


def measured(folder: Path) -> list[dict[str, str]]:
    """Its runs, or what was measured without training."""
    return rows(folder / "runs.csv") or rows(folder / "curvature.csv")


def provenance(folder: Path) -> str:
    found = measured(folder)
    planned = len(rows(folder / "plan.csv"))
    outcomes = Counter(row.get("outcome", "measured") for row in found)
    counts = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(outcomes.items(), reverse=True))
    devices = ", ".join(sorted({row["device"] for row in found}))
    commits = ", ".join(f"`{commit[:7]}`" for commit in sorted({row["git_sha"] for row in found}))
    partial = "" if len(found) >= planned else f" of {planned:,} planned: **partial**"
    return f"{len(found):,} runs{partial} ({counts}) on {devices}, commit {commits}."


def claims(folder: Path) -> list[list[str]]:
    body = []
    for claim in rows(folder / "summary" / "claims.csv"):
        interval = f" [{number(claim['low'])}, {number(claim['high'])}]" if claim["low"] else ""
        estimate = number(claim["estimate"]) + interval
        success = f"{claim['n_success']}/{claim['n_runs']}" if claim["n_runs"] not in ("", "0") else ""
        if success and claim["n_runs_other"]:
            success += f" against {claim['n_success_other']}/{claim['n_runs_other']}"
        success += " did not diverge" if success and claim["metric"] == "diverged" else ""
        holm = f" ({p_value(claim['p_holm'])})" if claim["p_holm"] else ""
        # Only the settings in which it is not the verdict over all.
        settings = claim["settings"].split("; ") if claim["settings"] else []
        others = [counted(s) for s in settings if not s.startswith(f"{claim['verdict']} at")]
        verdict = f"**{claim['verdict']}**" + "".join(f"; {s}" for s in others)
        if claim["verdict"] in ("supported", "refuted") and float(claim["p_holm"] or 0) > 0.05:
            verdict += "; not after Holm's correction"
        exploratory = "; exploratory" if is_exploratory(claim) else ""
        body.append(
            [claim["text"], verdict, claim["test"], estimate, success, claim["n"] + exploratory,
             p_value(claim["p"]) + holm]
        )
    return body


def is_exploratory(claim: dict[str, str]) -> bool:
    """Decided with fewer than six seeds, or at a learning rate chosen in the same seeds."""
    n = int(claim["n"] or 0)
    return n > 0 and (n < 6 or int(claim["choices"] or 1) > 1)


def counted(settings: str) -> str:
    """`supported at a, b`, or `supported in 30 settings` where they are too many to name."""
    verdict, places = settings.split(" at ", 1)
    many = places.count(", ") + 1
    return settings if many <= 6 else f"{verdict} in {many} settings"


def published(folder: Path) -> list[list[str]]:
    body = []
    for row in rows(folder / "summary" / "published.csv"):
        ours = number(row["mean"])
        if row["mean_low"]:
            ours += f" [{number(row['mean_low'])}, {number(row['mean_high'])}]"
        theirs = f"{float(row['published']):g}" + (f" ± {float(row['spread']):g}" if row["spread"] else "")
        # The authors give norms as decimal logarithms.
        if row["metric"] == "log_spectral_norm":
            theirs += f" ({float(row['published']) / math.log(10):.2f} in base 10)"
            ours += f" ({float(row['mean']) / math.log(10):.2f} in base 10)" if row["mean"] else ""
        body.append([row["where"] or "all", row["metric"], theirs, ours or "not measured", row["n"], row["source"]])
    return body


def figures(folder: Path) -> list[str]:
    lines = []
    for file in sorted((DOCS / "figures" / folder.name).glob("*.svg")):
        caption = file.with_suffix(".txt")
        about = " ".join(caption.read_text().split()) if caption.exists() else ""
        if not file.stem.endswith("-dark"):
            alt = about.split(". ")[0].rstrip(".") or file.stem
            lines += [f"![{alt}](../figures/{folder.name}/{file.name})", "", *([about, ""] if about else [])]
    return lines


def sweep(folder: Path) -> list[str]:
    lines = [f"## `results/paper/{folder.name}`", "", f"`{made_by(folder.name)}` makes it again.", ""]
    if not (folder / "grid.toml").exists():
        return [*lines, *figures(folder), *signals(), ""]
    about = tomllib.loads((folder / "grid.toml").read_text()).get("about", "")
    lines += [about, "", provenance(folder), "", *figures(folder)]
    if body := claims(folder):
        head = ["claim", "verdict", "test", "estimate and 95 % interval", "trained", "seeds", "p (Holm)"]
        lines += [*table(head, body), ""]
    if body := published(folder):
        lines += [*table(["where", "metric", "published", "ours", "seeds", "source"], body), ""]
    return lines


def folders(names: list[str]) -> list[Path]:
    """Of these sweeps and their variants, those that are committed."""
    found = [PAPER / (name + variant) for name in names for variant in VARIANTS]
    return [folder for folder in found if folder.exists()]


def overview() -> list[str]:
    """The verdicts on the claims of each experiment, counted."""
    body = []
    for page, names in EXPERIMENTS.items():
        title = (DOCS / "reproduction" / f"{page}.md").read_text().splitlines()[0].removeprefix("# ")
        link = f"[{title}](reproduction/{page}.md)"
        for folder in folders(names):
            verdicts = Counter(claim["verdict"] for claim in rows(folder / "summary" / "claims.csv"))
            said = ", ".join(f"{n} {verdict}" for verdict, n in sorted(verdicts.items())) or "none"
            n = len(measured(folder))
            planned = len(rows(folder / "plan.csv"))
            if n < planned:
                said = f"{n} of {planned:,} runs: no verdict yet"
            body.append([link, f"`{folder.name}`", f"{n:,}" if n else "", said, f"`{made_by(folder.name)}`"])
            link = ""
    total = sum(len(rows(path)) for path in sorted(PAPER.glob("*/runs.csv")))
    head = ["experiment", "folder in `results/paper/`", "runs", "claims", "made again by"]
    return [*table(head, body), "", f"{total:,} training runs are committed, those of [further sweeps](reproduction/further.md) included."]


# The experiments that benches/authors_code.py ran, and our folder with these settings.
BESIDE = {"E4": "cnn-depth-small-confirm", "E7": "test-error-small-confirm", "E8": "curvature-small"}
# The least accuracy on Fashion-MNIST's 10,000 test images that needs a look at the image.
ABOVE_CHANCE = 0.1113


def mean_and_sd(values: list[float], digits: int) -> str:
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{spread}"


def ours_beside(experiment: str, init: str, norm: str, depth: str) -> str:
    folder = PAPER / BESIDE[experiment]
    if experiment == "E8":
        found = [row for row in rows(folder / "curvature.csv") if row["model"] == "wrn" and row["share"] == "0.1"]
        values = [float(row["log_spectral_norm"]) for row in found if row["init"] == init]
        return f"{mean_and_sd(values, 2)}, n = {len(values)}"
    [cell] = [
        cell for cell in rows(folder / "summary" / "cells.csv")
        if cell["init"] == init and cell.get("norm", norm) == norm and cell.get("depth", depth) == depth
        and cell.get("warmup_epochs", "0") == "0"
    ]
    return f"{number(cell['acc'])} ± {number(cell['acc_sd'])}, {cell['n_trained']}/{cell['n']}"


def authors() -> list[str]:
    """The authors' code beside ours."""
    groups = defaultdict(list)
    for row in rows(ROOT / "benches" / "authors_code.csv"):
        groups[row["experiment"], row["init"], row["norm"], row["depth"]].append(row)
    body = []
    for (experiment, init, norm, depth), found in groups.items():
        network = f"CNN of {depth} layers" if depth else "WRN-40-1" + (" with batch norm" if norm == "batch" else "")
        if experiment == "E8":
            values = [float(row["log_spectral_norm"]) for row in found]
            theirs = f"{mean_and_sd(values, 2)}, n = {len(values)}"
        else:
            values = [float(row["test_acc"]) for row in found if float(row["test_acc"] or 0) > ABOVE_CHANCE]
            theirs = f"{mean_and_sd(values, 3)}, {len(values)}/{len(found)}"
        quantity = "ln of the spectral norm" if experiment == "E8" else "test accuracy"
        ours = ours_beside(experiment, init, norm, depth)
        body.append([experiment, f"{network}, `{init}`", quantity, theirs, ours, f"`{BESIDE[experiment]}`"])
    head = ["experiment", "network", "quantity", "the authors' code", "ours", "our folder"]
    return ["## Runs of the authors' code", "", *table(head, body), ""]


def pages() -> dict[str, list[str]]:
    """What stands between the marks of each page."""
    about = {f"reproduction/{page}.md": names for page, names in EXPERIMENTS.items()}
    about["reproduction/further.md"] = FURTHER
    found = {page: [line for folder in folders(names) for line in sweep(folder)] for page, names in about.items()}
    found["reproduction/further.md"] += authors()
    return {"reproduction.md": overview()} | found


def main() -> int:
    for name, lines in pages().items():
        path = DOCS / name
        old = path.read_text()
        before, rest = old.split(BEGIN)
        _, after = rest.split(END)
        page = before + BEGIN + "\n".join(lines).rstrip() + "\n\n" + END + after
        if "--check" not in sys.argv[1:]:
            path.write_text(page)
        elif page != old:
            print(f"docs/{name} is not what `make reproduction` writes", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Executes the notebooks on the committed sweep that they name, and checks their committed outputs.

    python analysis/notebooks.py                  execute, and write the outputs into the notebooks
    python analysis/notebooks.py --check          exit with 1 unless the outputs are complete, from that sweep,
                                                  without errors, absolute paths and host names; needs no packages
    python analysis/notebooks.py --shapes FOLDER  run the code on a sweep and print the rows and cells of each table;
                                                  with --check, compare with the committed outputs
"""

import ast
import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAPER = HERE.parent / "results" / "paper"
NOTEBOOKS = sorted(HERE.glob("*.ipynb"))


def code(notebook: Path) -> list[dict]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]


def shape(html: str) -> tuple[int, int]:
    """The rows and the cells of a table."""
    return html.count("<tr"), len(re.findall("<t[dh]", html))


def shapes_committed(notebook: Path) -> list[tuple[int, int]]:
    data = [output["data"] for cell in code(notebook) for output in cell["outputs"] if "data" in output]
    return [shape("".join(found["text/html"])) for found in data if "text/html" in found]


def shapes_of(notebook: Path) -> list[tuple[int, int]]:
    """Runs the code without a kernel; the last expression of a cell is its output."""
    import matplotlib

    matplotlib.use("agg")
    names, found = {}, []
    for cell in code(notebook):
        body = ast.parse("".join(cell["source"])).body
        last = ast.Expression(body.pop().value) if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), notebook.name, "exec"), names)
        value = eval(compile(last, notebook.name, "eval"), names) if last else None
        if hasattr(value, "_repr_html_"):
            found.append(shape(value._repr_html_()))
    return found


def faults(notebook: Path) -> list[str]:
    cells = code(notebook)
    outputs = [output for cell in cells for output in cell["outputs"]]
    printed = "".join(line for output in outputs for line in output.get("text", []))
    found = ["an error is committed" for output in outputs if output["output_type"] == "error"]
    found += ["a cell has no output" for cell in cells if not cell["outputs"]]
    if not (named := re.match(r"(\S+): (\d+) runs, commit (.+)\n", printed)):
        return [*found, "the first output does not name a sweep"]
    runs = PAPER / named[1] / "runs.csv"
    if not runs.exists():
        return [*found, f"results/paper/{named[1]} is not committed"]
    with runs.open(newline="") as file:
        rows = list(csv.DictReader(file))
    commits = ", ".join(sorted({row["git_sha"][:7] for row in rows}))
    if (named[2], named[3]) != (str(len(rows)), commits):
        found.append(f"the outputs are of {named[0].strip()}, the sweep has {len(rows)} runs, commit {commits}")
    # A picture is base64.
    text = json.dumps([{k: v for k, v in output.get("data", {}).items() if k != "image/png"} for output in outputs]) + printed
    hosts = {row["hostname"] for row in rows} | {os.uname().nodename}
    found += [f"the host name {host} is committed" for host in hosts if re.search(rf"\b{re.escape(host)}\b", text)]
    found += [f"the path {path} is committed" for path in re.findall(r"(?<![\w.<])/(?:home|root|work|tmp|Users|mnt)/\S*", text)]
    return found


def main(arguments: list[str]) -> int:
    check, told = "--check" in arguments, []
    os.chdir(HERE)  # as Jupyter does
    sys.path.insert(0, str(HERE))
    if "--shapes" in arguments:
        os.environ["RESULTS"] = arguments[arguments.index("--shapes") + 1]
        for notebook in NOTEBOOKS:
            with contextlib.redirect_stdout(io.StringIO()):
                found = shapes_of(notebook)
            print(notebook.name, found)
            if check and found != shapes_committed(notebook):
                told.append(f"{notebook.name}: committed are {shapes_committed(notebook)}; run analysis/notebooks.py")
    elif check:
        told = [f"analysis/{notebook.name}: {fault}" for notebook in NOTEBOOKS for fault in faults(notebook)]
    else:
        environment = {name: value for name, value in os.environ.items() if name != "RESULTS"}
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
        return subprocess.run([*command, "--ExecutePreprocessor.record_timing=False", *NOTEBOOKS], env=environment).returncode
    print("\n".join(told), file=sys.stderr, end="\n" if told else "")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

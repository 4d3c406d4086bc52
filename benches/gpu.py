"""What a GPU machine is asked for, in parts of nine minutes at most.

    benches/gpu.sh --part smoke OUT     20 s: doctor, a small MLP grid, a ResNet with a member that diverges
    benches/gpu.sh --part tests OUT     the reference cases, stacked training and the layers, on CUDA
    benches/gpu.sh --part bakeoff OUT   the ways to convolve a cohort
    benches/gpu.sh --part table OUT     jobs per hour against PyTorch
    benches/gpu.sh OUT                  all four, in this order
    benches/gpu.sh --pack DIR           put all of this into DIR, for a machine without Rust, git and this repository
    benches/gpu.sh --cpu OUT            the same way on the CPU with tiny sizes
    benches/gpu.sh --pretend OUT        the same way on the pretend CUDA runtime, where no number means anything

A part leaves one file, OUT/PART.tar.gz, with its logs, figures and `summary.txt`. The file is
renewed every few seconds, so that a part which is killed loses little, and the same command
continues from it: tests that passed, rows of the bake-off and measurements of the table are not
done again (--again does, and keeps the old file under another name).

Environment: PYTHON, an interpreter with torch 2.11; MINUTES, the longest that a part may take (9);
ROUNDS, of the table (3); WNINIT_BIN, a folder of binaries to run instead of building them.

Exit code: 0 nothing failed, or there is no GPU; 1 something failed; 2 it could not start; 3 nothing
failed, but something ran out of time.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import datetime
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PARTS = ("smoke", "tests", "bakeoff", "table")
PASSED, FAILED, TIMED_OUT, NOT_RUN = "passed", "failed", "timed out", "not run"
LATE = 3  # exit code, also of run.py: nothing failed, but not all was done
PANICKED = 101  # exit code of a Rust test that failed
TEST_SECONDS = 120.0  # the share of one test of several

# The tests that use a GPU, by program; libtest's filters.
TESTS = {"test-torch": ["golden::", "stacked_equals_alone::on_a_gpu"], "test-nn": ["nn::", "train::launch::"]}
CPU_ONLY = "without_avx512"
BUILT = ROOT / "target/bench-gpu-bin"

GRIDS = {
    "mlp": """
[base]
dataset = "digits"
model = "mlp"
depth = 10
width = 64
epochs = 2
[grid]
init = ["orthogonal_proposed", "he"]
lr = [0.01, 0.001]
seed = { count = 2 }
""",
    "resnet": """
[base]
dataset = "synthetic"
model = "resnet"
blocks = 1
width = 16
augment = "crop_flip"
epochs = 2
[grid]
lr = [0.01, 0.001, 1e30]
""",
}
DIVERGES = 1e30  # a learning rate

PROBE = """
import json, platform, torch
gpu = torch.cuda.is_available()
print(json.dumps({"gpu": torch.cuda.get_device_name(0) if gpu else None, "torch": torch.__version__,
                  "cuda": torch.version.cuda, "python": platform.python_version(), "folder": torch.__path__[0]}))
"""


class Stopped(BaseException):
    """Somebody ends this program."""


@dataclasses.dataclass
class Step:
    name: str
    outcome: str
    seconds: float = 0.0
    note: str = ""
    code: int | None = None  # of the process; negative: the signal that ended it


def exit_code(steps: list[Step]) -> int:
    outcomes = {step.outcome for step in steps}
    if FAILED in outcomes:
        return 1
    return LATE if outcomes & {TIMED_OUT, NOT_RUN} else 0


@dataclasses.dataclass
class Setting:
    """How programs are started here."""

    mode: str  # cuda, cpu or pretend
    bin: Path
    machine: dict = dataclasses.field(default_factory=dict)
    doctor: Step | None = None
    version: str = "wninit, version unknown"

    @property
    def device(self) -> str:
        return "cpu" if self.mode == "cpu" else "cuda"

    def command(self, *words: object) -> list[str]:
        start = [str(ROOT / "tests/fakecuda/run.sh")] if self.mode == "pretend" else []
        return [*start, *map(str, words)]

    def environment(self, folder: Path) -> dict[str, str]:
        """`folder` is the part's."""
        more = {"WNINIT_CACHE": str(folder / "cache"), "WNINIT_FIXTURES": str(ROOT / "tests/fixtures"),
                # A test that sees no GPU shall fail where there is one.
                "WNINIT_ALLOW_SKIPS": "gpu" if self.mode == "cpu" else "none",
                "FAKE_LOG": str(folder / "fakecuda.log"), "PYTHONUNBUFFERED": "1"}
        if self.mode != "cuda":
            more["OMP_NUM_THREADS"] = "1"  # threads that wait for each other crawl where other work runs
        if "folder" in self.machine and self.bin != BUILT:
            # Binaries of elsewhere look for libtorch where it was when they were built.
            paths = [str(Path(self.machine["folder"]) / "lib"), os.environ.get("LD_LIBRARY_PATH")]
            more["LD_LIBRARY_PATH"] = ":".join(path for path in paths if path)
        return {**os.environ, **more}

    def probe(self) -> None:
        """Fills in `machine`. Ends the program where torch does not work."""
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(self.command(sys.executable, "-c", PROBE), env=self.environment(Path(folder)),
                                  capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(usage(f"{sys.executable} has no torch that works; PYTHON names another one\n{done.stderr}"))
        found = json.loads(done.stdout.splitlines()[-1])
        digest = hashlib.sha256()
        for path in sorted(self.bin.iterdir()):
            digest.update(path.read_bytes())
        self.machine = {**found, "mode": self.mode, "driver": nvidia_driver() if self.mode == "cuda" else "",
                        "programs": digest.hexdigest()[:12]}


def usage(message: str) -> int:
    print(message, file=sys.stderr)
    return 2


def nvidia_driver() -> str:
    """Driver and memory, if nvidia-smi is there."""
    query = ["nvidia-smi", "--query-gpu=driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=30).stdout.split("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"


class Part:
    """One part: its folder, its archive and what became of its steps."""

    def __init__(self, name: str, setting: Setting, out: Path, seconds: float, again: bool = False) -> None:
        self.name, self.setting, self.out = name, setting, out
        self.begun, self.limit = time.monotonic(), seconds
        self.archive = out / f"{name}.tar.gz"
        self.temporary = tempfile.TemporaryDirectory(prefix="wninit-gpu-")
        self.folder = Path(self.temporary.name) / name
        self.folder.mkdir()
        self.steps: list[Step] = []
        self.before: dict[str, Step] = {}  # steps of an earlier call
        self.running = ""
        out.mkdir(parents=True, exist_ok=True)
        if self.archive.exists():
            self.resume(again)

    def resume(self, again: bool) -> None:
        """Takes up what an earlier call left, if it is of this machine and these programs."""
        try:
            with tarfile.open(self.archive) as archive:
                archive.extractall(self.folder.parent, filter="data")
            earlier = json.loads((self.folder / "steps.json").read_text())
            why = "--again" if again else "" if earlier["machine"] == self.setting.machine else "it is of another machine or program"
            self.before = {step["name"]: Step(**step) for step in earlier["steps"]}
        except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
            why = f"it cannot be read: {error}"
        if not why:
            print(f"{self.name}: continues from {self.archive}; --again starts anew")
            return
        kept = self.out / f"{self.name}-until-{datetime.datetime.now():%Y%m%dT%H%M%S.%f}.tar.gz"
        self.archive.rename(kept)
        print(f"{self.name}: starts anew ({why}); the earlier file is now {kept}")
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.before = {}

    def left(self) -> float:
        return self.limit - (time.monotonic() - self.begun)

    def run(self, name: str, command: list[str], share: float = float("inf"), late: tuple[int, ...] = (),
            check: Callable[[str], str] | None = None) -> Step:
        """Runs a process for `share` seconds at most. `late`: exit codes that mean it ran out of time. `check`
        gets the output of a process that ended well and says what is wrong with it, if anything is."""
        seconds = min(share, self.left())
        if seconds < 1:
            return self.add(Step(name, NOT_RUN, note="no time was left"))
        print(f"== {self.name}: {name}", flush=True)
        log, begun, code, stopped = self.log(name), time.monotonic(), None, None
        self.running = name
        with log.open("wb") as file:
            try:
                process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=ROOT,
                                           env=self.setting.environment(self.folder), start_new_session=True)
            except OSError as error:
                return self.add(Step(name, FAILED, note=str(error)))
            try:
                while code is None and time.monotonic() - begun < seconds:
                    self.save()
                    try:
                        code = process.wait(min(5.0, max(0.0, seconds - (time.monotonic() - begun))))
                    except subprocess.TimeoutExpired:
                        pass
            except Stopped as signalled:
                stopped = signalled
            finally:
                end_group(process)
        self.running = ""
        text = log.read_text(errors="replace")
        step = Step(name, PASSED, time.monotonic() - begun, code=code)
        if stopped or code is None or code in late:
            step.outcome = TIMED_OUT
            why = "stopped by a signal" if stopped else f"over its {seconds:.0f} s" if code is None else "not all of it was done in time"
            step.note = f"{why}; the output ends with\n{tail(text, 5)}"
        elif code:
            step.outcome = FAILED
            step.note = (f"ended by signal {-code}\n" if code < 0 else "") + panic(text)
        elif check and (wrong := check(text)):
            step.outcome, step.note = FAILED, wrong
        self.add(step)
        if stopped:
            raise stopped
        return step

    def log(self, name: str) -> Path:
        return self.folder / (re.sub(r"[^\w.-]+", "-", name) + ".log")

    def add(self, step: Step) -> Step:
        self.steps.append(step)
        self.save()
        return step

    def save(self) -> None:
        """Writes the archive, whole or not at all."""
        state = {"machine": self.setting.machine, "steps": [dataclasses.asdict(step) for step in self.steps]}
        (self.folder / "steps.json").write_text(json.dumps(state, indent=1) + "\n")
        (self.folder / "summary.txt").write_text(self.summary())
        fresh = self.archive.with_name(f".{self.archive.name}.part")
        with tarfile.open(fresh, "w:gz") as archive:
            archive.add(self.folder, self.name)
        fresh.replace(self.archive)

    def summary(self) -> str:
        return summary(self.name, self.setting.machine, self.setting.version, self.steps, time.monotonic() - self.begun, self.running)


def end_group(process: subprocess.Popen) -> None:
    """Ends a process and all that it has started."""
    for how, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            pass
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def tail(text: str, lines: int) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def panic(text: str) -> str:
    """From the first panic on, all of it; without one, the last lines."""
    at = text.find("\nthread '")
    return text[at + 1:].strip() if at >= 0 and " panicked at " in text[at:] else tail(text, 40)


def summary(name: str, machine: dict, version: str, steps: list[Step], seconds: float, running: str = "") -> str:
    """What a part did, for people: what failed first, notes indented."""
    code = exit_code(steps)
    word = f"running {running}" if running else {0: "nothing failed", 1: "FAILED", LATE: "nothing failed, but time ran out"}[code]
    counts = ", ".join(f"{n} {outcome}" for outcome in (PASSED, FAILED, TIMED_OUT, NOT_RUN)
                       if (n := sum(step.outcome == outcome for step in steps)))
    mode = {"cuda": "", "cpu": "On the CPU, tiny sizes: no figure means anything.\n",
            "pretend": "On the pretend CUDA runtime: no figure means anything, values were not checked.\n"}[machine["mode"]]
    driver = f", driver {machine['driver']}" if machine.get("driver") else ""
    lines = [f"{name}: {word} (exit code {code}); {counts or 'no step yet'}; {seconds:.0f} s until "
             f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M:%S} UTC",
             f"{mode}GPU: {machine['gpu'] or 'none'}{driver}",
             f"{version}; torch {machine['torch']}, CUDA {machine['cuda']}, Python {machine['python']}", ""]
    for outcome in (FAILED, TIMED_OUT, NOT_RUN, PASSED):
        for step in (step for step in steps if step.outcome == outcome):
            lines.append(f"{outcome:9} {step.seconds:6.1f} s  {step.name}")
            lines += [f"    {line}" for line in step.note.splitlines()]
    return "\n".join(lines) + "\n"


def doctor(part: Part) -> None:
    """Once a call; all its parts tell what it found."""
    setting = part.setting
    if setting.doctor:
        part.add(setting.doctor)
        return
    setting.doctor = part.run("doctor", setting.command(setting.bin / "wninit", "doctor"), 60.0)
    lines = part.log("doctor").read_text(errors="replace").splitlines() if part.log("doctor").exists() else []
    setting.version = next((line for line in lines if line.startswith("wninit ")), setting.version)


def smoke(part: Part, _only: list[str]) -> None:
    setting, results = part.setting, part.folder / "results"
    shutil.rmtree(results, ignore_errors=True)  # an earlier call's, in which nothing is left to train
    for name, grid in GRIDS.items():
        path = part.folder / f"{name}.toml"
        path.write_text(f'name = "{name}"\n{grid}')
        part.run(name, setting.command(setting.bin / "wninit", "run", path, "--results", results, "--device", setting.device),
                 120.0, check=lambda text, name=name: smoke_fault(text, results / name / "runs.csv", setting.mode == "pretend"))


def smoke_fault(text: str, path: Path, pretend: bool) -> str:
    """What is wrong with a smoke run's output and rows; empty if nothing is."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [line for line in text.splitlines() if "launched one by one" in line]
    if not rows:
        wrong.append("no rows")
    for row in rows if not pretend else []:
        wanted = "diverged" if float(row["lr"]) >= DIVERGES else "ok"
        if row["outcome"] != wanted:
            wrong.append(f"learning rate {float(row['lr']):g}: {row['outcome']} instead of {wanted}")
    return "\n".join(wrong)


def tests(part: Part, only: list[str]) -> None:
    setting, found = part.setting, []
    for program, filters in TESTS.items():
        listed = part.run(f"list of {program}", setting.command(setting.bin / program, "--list", *(only or filters)), 60.0)
        if listed.outcome == PASSED:
            part.steps.remove(listed)
            names = listed_tests(part.log(listed.name).read_text())
            found += [(program, name) for name in names if only or CPU_ONLY not in name]
    if only and not found:
        part.add(Step("tests", FAILED, note=f"no test is named like {', '.join(only)}"))
    for program, name in found:
        known = part.before.get(name)
        if known and known.outcome == PASSED and not only:
            part.add(known)
            continue
        share = TEST_SECONDS if len(found) > 1 else part.left()
        step = part.run(name, setting.command(setting.bin / program, "--exact", name, "--nocapture"), share,
                        check=lambda text: "" if "\ntest result: ok. 1 passed" in text else "it was not run:\n" + tail(text, 5))
        if setting.mode == "pretend":
            forgive(step)
        if step.outcome == TIMED_OUT and len(found) > 1:
            step.note += f"\nalone, with all the time: benches/gpu.sh --part tests --only {name}"
        if step.outcome != PASSED:
            print(step.note)
        part.save()
    for step in part.before.values() if only else ():  # the others of an earlier call
        if step.name not in {new.name for new in part.steps}:
            part.add(step)


def listed_tests(text: str) -> list[str]:
    return [line.removesuffix(": test") for line in text.splitlines() if line.endswith(": test")]


def forgive(step: Step) -> None:
    """Where kernels do nothing, a failed comparison of values means nothing; a refused call does."""
    refused = r"CUDA error|CUDNN_STATUS|CUBLAS_STATUS|INTERNAL ASSERT|launched one by one|cannot|No such file"
    if step.outcome == FAILED and step.code == PANICKED and not re.search(refused, step.note):
        step.outcome, step.note = PASSED, "it ran to a comparison of values: " + step.note.splitlines()[0]


def bakeoff(part: Part, _only: list[str]) -> None:
    quick = {"cuda": [], "cpu": ["--quick"], "pretend": ["--quick", "--pretend"]}[part.setting.mode]
    step = part.run("bakeoff", part.setting.command(sys.executable, HERE / "conv_bakeoff.py", "--device", part.setting.device,
                                                    "--out", part.folder, *quick))
    path = part.folder / "bakeoff.csv"
    if path.exists():
        judge_bakeoff(step, list(csv.DictReader(path.read_text().splitlines())))
    show(part, "bakeoff.md")


def judge_bakeoff(step: Step, rows: list[dict]) -> None:
    """A way that a machine cannot go is a result; wrong values are a failure."""
    notes = [f"{row['way']} {row['layout']} {row['launch']}, {row['network']} {row['maps']} {row['precision']}: {row['note']}"
             for row in rows if row["note"]]
    if any(row["note"].startswith("off by") for row in rows):
        step.outcome = FAILED
    step.note = "\n".join(line for line in (step.note, f"{len(rows) - len(notes)} rows timed, {len(notes)} not", *notes) if line)


def table(part: Part, _only: list[str]) -> None:
    setting = part.setting
    quick = [] if setting.mode == "cuda" else ["--quick", "--workloads", "gpu-mlp-512", "gpu-resnet-56"]
    if setting.mode == "pretend":
        quick += ["--programs", "a", "c"]
    step = part.run("table", setting.command(
        sys.executable, HERE / "run.py", "--device", setting.device, "--resume", "--wninit", setting.bin / "wninit", "--rounds",
        os.environ.get("ROUNDS", "3" if setting.mode == "cuda" else "1"), "--minutes", f"{(part.left() - 30) / 60:.2f}",
        "--limit", "150", "--out", part.folder, *quick), late=(LATE,))
    said = part.log("table").read_text(errors="replace").splitlines() if part.log("table").exists() else []
    missing = [line for line in said if "not measured" in line or "do not agree" in line]
    if step.outcome != PASSED and step.code is not None and missing:
        step.note = "\n".join(missing)
    if setting.mode == "pretend":
        step.note = step.note + ("\n" if step.note else "") + "none of (b): it draws its matrices with cuSOLVER, which the pretend runtime has not"
    show(part, "table.log")


def show(part: Part, name: str) -> None:
    path = part.folder / name
    print(path.read_text(errors="replace") if path.exists() else f"no {name}")


def build(folder: Path, profile: str) -> None:
    """The programs and their tests, stripped."""
    def cargo(*words: str) -> dict[tuple[str, bool], str]:
        """Executables by the name of their target, and whether they are tests."""
        said = subprocess.run(["cargo", *words, "--profile", profile, "--locked", "--message-format=json-render-diagnostics"],
                              cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout
        return {(message["target"]["name"], message["profile"]["test"]): message["executable"]
                for message in map(json.loads, said.splitlines()) if message.get("executable")}

    if profile == "checked":
        found = cargo("test", "--no-run")  # what `make test` has built
    else:
        found = cargo("build") | cargo("test", "--no-run", "-p", "wninit-torch-program", "--test", "torch")
        found |= cargo("test", "--no-run", "-p", "wninit-torch", "--lib")
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in {"wninit": ("wninit", False), "wninit-torch": ("wninit-torch", False), "test-torch": ("torch", True),
                         "test-nn": ("wninit_torch", True)}.items():
        subprocess.run(["strip", "--strip-debug", "-o", str(folder / name), found[target]], check=True)


def pack(folder: Path) -> None:
    """All that the parts need, so that `folder` alone is enough."""
    build(folder / "bin", "release")
    for source in [*HERE.glob("*.py"), HERE / "gpu.sh", *(ROOT / "tests/fixtures/golden").glob("*.safetensors")]:
        target = folder / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    images = ROOT / "data/fashion-mnist"  # on which the table compares accuracies
    for source in images.glob("*-ubyte*"):
        target = folder / "data/fashion-mnist" / (source.name.removesuffix(".gz") + ".gz")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes() if source.suffix == ".gz" else gzip.compress(source.read_bytes(), mtime=0))
    if not images.is_dir():
        print("without Fashion-MNIST, on which the table compares accuracies: `wninit fetch fashion-mnist`", file=sys.stderr)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{size / 2**20:.0f} MiB in {folder}; there: {folder.name}/benches/gpu.sh --part smoke OUT")


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", nargs="?", type=Path, default=ROOT / "target/bench-gpu", metavar="OUT",
                        help="the folder for the results [target/bench-gpu]")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--only", action="append", default=[], metavar="TEST",
                        help="of the part tests, those whose name contains TEST; a single one may take all the time")
    parser.add_argument("--again", action="store_true", help="measure and test anew what is in OUT")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--cpu", dest="mode", action="store_const", const="cpu", default="cuda", help="try it on the CPU")
    mode.add_argument("--pretend", dest="mode", action="store_const", const="pretend",
                      help="try it on the pretend CUDA runtime (tests/fakecuda)")
    mode.add_argument("--pack", type=Path, metavar="DIR", help="only put what another machine needs into DIR")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    args = parse(words)
    if args.pack:
        pack(args.pack)
        return 0
    binaries = Path(os.environ.get("WNINIT_BIN") or ROOT / "bin").resolve()  # `bin` in a packed folder
    if args.mode == "pretend":
        fake = ROOT / "tests/fakecuda/build.sh"
        if not fake.exists() or subprocess.run([fake]).returncode:
            return usage(f"the pretend CUDA runtime cannot be built: {fake}")
    if args.mode == "cuda":
        seen = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 9)"
        if subprocess.run([sys.executable, "-c", seen]).returncode == 9:
            print("skipped: no GPU")
            return 0
    if not binaries.is_dir():
        binaries = BUILT
        build(binaries, "release" if args.mode == "cuda" else "checked")
    setting = Setting(args.mode, binaries)
    setting.probe()

    def stop(_number, _frame) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    steps: list[Step] = []
    for name in PARTS:
        if args.part and name not in args.part:
            continue
        part = Part(name, setting, args.out.resolve(), float(os.environ.get("MINUTES", 9)) * 60, args.again)
        try:
            doctor(part)
            globals()[name](part, args.only)
        except Stopped:
            return 1 if exit_code(steps + part.steps) == 1 else LATE
        finally:
            steps += part.steps
            part.save()
            print(part.summary() + f"all of it is in {part.archive}\n", flush=True)
            part.temporary.cleanup()
    return exit_code(steps)


if __name__ == "__main__":
    sys.exit(main())

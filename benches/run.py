"""Jobs per hour of a conventional PyTorch harness (a), a careful PyTorch loop (b) and wninit (c).

    python benches/run.py                     the CPU table, into benches/RESULTS.md and results.json
    python benches/run.py --workloads mlp-500 --rounds 5
    python benches/run.py --quick             the same way with tiny workloads, written to a temporary folder
    python benches/run.py --device cuda --out DIR --resume      writes after each measurement, and continues
    python benches/run.py --adopt DIR/results.json      take over what another machine measured
    python benches/run.py --before OTHER/target/release/wninit      an earlier wninit takes its turn in each round

Each round measures a, b, c one after the other (ABCABC…), so that a slow moment of the machine
hits all alike. README.md beside this file says what is timed.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import hashlib
import json
import os
import platform
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is loaded; gemm.py starts a process a core

import torch  # noqa: E402

import gemm  # noqa: E402
import process  # noqa: E402
import report  # noqa: E402
from workloads import ALL, CPU, GPU, Workload  # noqa: E402

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUSY_SHARE = 0.10  # of the machine, taken by others while we measure
PROGRAMS = {"a": "baseline_harness.py", "b": "baseline_careful.py"}
LATE = 3  # exit code: nothing failed, but not all was measured in time


class TimedOut(Exception):
    """A measurement took longer than --limit, or none may be started any more."""


class Load:
    """How much of the machine others use between `start` and `share`."""

    def __init__(self) -> None:
        self.at, self.busy, self.own = time.time(), self.busy_seconds(), self.own_seconds()

    @staticmethod
    def busy_seconds() -> float | None:
        try:
            fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        except OSError:
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
        total = user + nice + system + irq + softirq + steal
        return total / os.sysconf("SC_CLK_TCK") if total else None

    @staticmethod
    def own_seconds() -> float:
        own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

    def share(self) -> float | None:
        """Processor time that was not ours, as a share of the machine; None where unknown."""
        if self.busy is None:
            return None
        others = (self.busy_seconds() - self.busy) - (self.own_seconds() - self.own)
        return max(0.0, others / ((time.time() - self.at) * (os.cpu_count() or 1)))


def measure(program: str, workload: Workload, args: argparse.Namespace, folder: Path, loaders: int | None = None,
            variant: str = "timed") -> dict:
    """One measurement: jobs, seconds, start-up seconds, peak memory, test
    accuracies. `loaders` are the processes of (a)'s DataLoader."""
    variant = "quick" if args.quick else variant
    shown = workload.variant(variant)
    wninit = {"c": args.wninit, "before": args.before}.get(program)
    jobs = shown.jobs["c" if wninit else program]
    load, spawned = Load(), time.time()
    if wninit:
        started_at, rows, peak = run_wninit(wninit, shown, jobs, args, folder)
    else:
        command = [sys.executable, str(HERE / PROGRAMS[program]), workload.name, "--jobs", str(jobs),
                   "--device", args.device, "--variant", variant]
        if program == "a" and loaders is not None:
            command += ["--loader-workers", str(loaders)]
        output, peak = execute(command, args.limit)
        result = json.loads(output.strip().splitlines()[-1])
        started_at, rows = result["started_at"], result["rows"]
    ended = time.time()
    return {"jobs": jobs, "seconds": ended - started_at, "startup": started_at - spawned, "peak_mib": peak,
            "test_acc": [float(row["test_acc"]) for row in rows], "others": load.share(),
            **({"git_sha": rows[0]["git_sha"], "cohort": int(rows[0]["cohort_size"])} if wninit else {})}


def run_wninit(wninit: Path, workload: Workload, jobs: int, args: argparse.Namespace,
               folder: Path) -> tuple[float, list[dict], float]:
    """When the first cohort started, the finished rows, and the peak memory in MiB."""
    name = f"{workload.name}-{time.monotonic_ns()}"
    grid = folder / f"{name}.toml"
    grid.write_text(workload.grid(name, jobs))
    _, peak = execute([str(wninit), "run", str(grid), "--results", str(folder), "--device", args.device], args.limit)
    with (folder / name / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    bad = [row["job_id"] for row in rows if row["outcome"] != "ok"]
    if len(rows) != jobs or bad:
        raise SystemExit(f"{workload.name}: wninit finished {len(rows)} of {jobs} jobs, diverged: {bad}")
    starts = [datetime.datetime.fromisoformat(row["started_at"].replace("Z", "+00:00")) for row in rows]
    return min(starts).timestamp(), rows, peak


def execute(command: list[str], limit: float | None = None) -> tuple[str, float]:
    """Runs a command; its output and peak memory in MiB, or an end with what it said."""
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            with process.Memory(child.pid) as memory:
                out, err = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            child.kill()
            raise TimedOut(f"{' '.join(command)}\ntimed out after {limit:g} s") from None
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}\nexit code {child.returncode}\n{out[-2000:]}{err[-4000:]}")
    return out, memory.peak_mib


def cross_check(workload: Workload, args: argparse.Namespace, folder: Path) -> None:
    """Holds parameters and arithmetic, as counted here, against wninit's own plan."""
    grid = folder / "check.toml"
    grid.write_text(workload.grid("check", 1))
    text, _ = execute([str(args.wninit), "plan", str(grid), "--results", str(folder)])
    row = [line for line in text.splitlines() if line.strip()][-1]
    numbers = re.findall(r"([\d.]+)(?: ([kMGTP])?(FLOP|B)?)?(?=  |$)", row)
    scale = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
    parameters, forward = (float(number) * scale[prefix] for number, prefix, _ in numbers[-3:-1])
    for what, theirs, ours in (("parameters", parameters, workload.parameters()),
                               ("forward FLOP", forward, workload.forward_flop())):
        if abs(theirs / ours - 1) > 0.006:  # the plan prints three digits
            raise SystemExit(f"{workload.name}: {what}: wninit plans {theirs:g}, the bench counts {ours:g}")


def fastest_loaders(workload: Workload, args: argparse.Namespace, folder: Path, known: dict) -> int:
    """How many DataLoader processes serve (a) best on this machine: none, or one a core (eight at
    most). Tried once for each kind of data and network."""
    kind = f"{workload.dataset}, {workload.augment}, {workload.model}"
    if kind not in known:
        tried = {n: measure("a", workload, args, folder, n)["seconds"] for n in (0, min(8, os.cpu_count() or 1))}
        known[kind] = min(tried, key=tried.get)
        print("  DataLoader of (a): " + ", ".join(f"{n} processes {s:.1f} s" for n, s in tried.items()), flush=True)
    return known[kind]


class Session:
    """What is measured now; with --resume, what an earlier call measured is part of it."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.path = args, args.out / "results.json"
        self.earlier = read_sessions(self.path)
        self.now = session(args)
        self.deadline = time.monotonic() + args.minutes * 60
        if args.resume and self.earlier and same_setting(self.earlier[0], self.now):
            self.now = self.earlier.pop(0)
        self.now["failed"] = []  # is tried again
        self.known = self.now.setdefault("loaders", {})

    def measured(self, workload: Workload) -> dict | None:
        return next((w for w in self.now["workloads"] if w["name"] == workload.name), None)

    def save(self) -> None:
        self.now["busy"] = is_busy(self.now)
        if self.args.resume:
            write(merged(self.earlier, self.now), self.args.out)

    def attempt(self, workload: Workload, what: str, action: Callable[[], object]) -> bool:
        """Does it, unless the time is over. What fails or takes too long is recorded; the rest goes on."""
        try:
            if time.monotonic() > self.deadline:
                raise TimedOut("for want of time")
            action()
            self.save()
            return True
        except (SystemExit, TimedOut, RuntimeError) as error:
            print(f"{workload.name}, {what}: not measured: {error}", file=sys.stderr, flush=True)
            self.now["failed"].append({"name": f"{workload.name}, {what}", "error": str(error),
                                       "timed_out": isinstance(error, TimedOut)})
            self.save()
            return False

    def bench(self, workload: Workload, folder: Path) -> None:
        """All rounds of a workload that are not there yet."""
        args = self.args
        shown = workload.quick() if args.quick else workload
        train, val, test = shown.split()
        entry = self.measured(workload) or {
            "name": workload.name, "title": workload.title, "precision": shown.precision,
            "train": train, "val": val, "test": test, "epochs": shown.epochs, "dataset": shown.dataset,
            "job_flop": shown.job_flop(), "gemm_shape": list(shown.gemm()), "targets": shown.targets,
            "loader_processes": None, "rounds": {}, "gemm": {}, "judged": None}
        missing = unmeasured(entry, args)
        if not missing:
            print("  there already")
            return
        if entry["rounds"]:
            print(f"  there already: all but {', '.join(missing)}")
        if not self.attempt(workload, "plan", lambda: cross_check(shown, args, folder)):
            return

        def loaders() -> None:
            entry["loader_processes"] = fastest_loaders(workload, args, folder, self.known)

        def gemms() -> None:
            seconds = 0.1 if args.quick else 1.0
            libraries = gemm.libraries(shown.precision, args.device)
            rates = {"layer": gemm.rate(shown.gemm(), shown.precision, args.device, seconds),
                     **{f"1024² {library}": gemm.rate(gemm.SQUARE, shown.precision, args.device, seconds, library)
                        for library in libraries}}
            for kind, rate in rates.items():
                entry["gemm"].setdefault(kind, []).append(rate)

        def round_of(program: str) -> None:
            measured = measure(program, workload, args, folder, entry["loader_processes"])
            entry["rounds"].setdefault(program, []).append(measured)
            if self.now["git_sha"] == "unknown":  # no git here: the commit that wninit was built of
                self.now["git_sha"] = measured.get("git_sha", "unknown")
            if self.measured(workload) is None:
                self.now["workloads"].append(entry)
            others = "" if measured["others"] is None else f", others used {measured['others']:.0%}"
            print(f"  round {n + 1} {program}: {measured['jobs']} jobs in {measured['seconds']:.1f} s = "
                  f"{measured['jobs'] * 3600 / measured['seconds']:,.0f} jobs/h "
                  f"(start-up {measured['startup']:.1f} s{others})", flush=True)

        def judged() -> None:
            entry["judged"] = judge(workload, args, folder, entry["rounds"])

        programs = list(args.programs)
        if "a" in programs and not args.quick and not self.attempt(workload, "DataLoader of (a)", loaders):
            programs.remove("a")
        for n in range(args.rounds):
            if len(entry["gemm"].get("layer", [])) <= n and not self.attempt(workload, "GEMM rate", gemms):
                return
            for program in [p for p in programs if len(entry["rounds"].get(p, [])) <= n]:
                if not self.attempt(workload, f"({program})", lambda: round_of(program)):
                    programs.remove(program)
        if entry["rounds"] and not args.quick and set(programs) == set(args.programs):
            self.attempt(workload, "accuracies", judged)


def unmeasured(entry: dict, args: argparse.Namespace) -> list[str]:
    """What a workload lacks."""
    missing = [f"({p})" for p in args.programs if len(entry["rounds"].get(p, [])) < args.rounds]
    return missing + (["accuracies"] if not args.quick and not entry["judged"] else [])


def same_setting(a: dict, b: dict) -> bool:
    """Whether figures of two sessions may stand in one table."""
    return all(a.get(key) == b.get(key) for key in ("device", "quick", "rounds", "gpu", "cpu", "torch", "program"))


def judge(workload: Workload, args: argparse.Namespace, folder: Path, rounds: dict[str, list[dict]]) -> dict:
    """The accuracies that are compared, by program, and the images that they were tested on."""
    shown = workload.judged()
    measured = {p: ms[0] if shown is workload else measure(p, workload, args, folder, variant="judged")
                for p, ms in rounds.items() if p != "before"}
    title = workload.title if shown is workload else f"{shown.model} of {shown.blocks} blocks on {shown.dataset}"
    print("  judged: " + ", ".join(f"{p} {statistics.mean(m['test_acc']):.3f}" for p, m in measured.items()), flush=True)
    return {"title": title, "test": shown.split()[2], "test_acc": {p: m["test_acc"] for p, m in measured.items()}}


def judge_again(sessions: list[dict], args: argparse.Namespace) -> None:
    """Judges what earlier sessions measured; accuracies do not need a quiet machine."""
    with tempfile.TemporaryDirectory(prefix="wninit-bench-") as folder:
        for done in (w for session in sessions if session["device"] == args.device for w in session["workloads"]):
            if not args.workloads or done["name"] in args.workloads:
                print(done["title"], flush=True)
                done["judged"] = judge(ALL[done["name"]], args, Path(folder), done["rounds"])


def command_output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def session(args: argparse.Namespace) -> dict:
    """The machine and the moment."""
    sha = command_output("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    dirty = command_output("git", "status", "--porcelain", "--untracked-files=no")
    return {"device": args.device, "quick": args.quick, "rounds": args.rounds,
            "started_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "host": socket.gethostname(), "cpu": process.cpu(), "cores": len(os.sched_getaffinity(0)),
            "gpu": torch.cuda.get_device_name(0) if args.device != "cpu" else None,
            "load_average": os.getloadavg()[0], "torch": torch.__version__,
            "python": platform.python_version(), "program": fingerprint(args.wninit), "git_sha": sha + ("-dirty" if dirty else ""), "workloads": []}


def fingerprint(wninit: Path) -> str:
    """Tells builds of wninit apart."""
    trains = wninit.with_name("wninit-torch")
    return hashlib.sha256((trains if trains.exists() else wninit).read_bytes()).hexdigest()[:12]


def is_busy(session: dict) -> bool:
    """Whether others used the machine before or while it was measured."""
    shares = [m["others"] for w in session["workloads"] for ms in w["rounds"].values() for m in ms
              if m["others"] is not None]
    before = session["load_average"] > 0.5 * session["cores"]
    return before or (bool(shares) and statistics.median(shares) > BUSY_SHARE)


def write(sessions: list[dict], out: Path) -> None:
    """The table and the numbers behind it, each file whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("results.json", json.dumps(sessions, indent=1) + "\n"),
                       ("RESULTS.md", report.markdown(sessions))):
        part = out / f".{name}.part"
        part.write_text(text)
        part.replace(out / name)


def merged(earlier: list[dict], new: dict) -> list[dict]:
    """The new session first; earlier ones keep what it did not measure anew."""
    measured = {workload["name"] for workload in new["workloads"]}
    for old in earlier:
        old["workloads"] = [w for w in old["workloads"] if w["name"] not in measured]
    return [new, *(old for old in earlier if old["workloads"])]


def read_sessions(path: Path) -> list[dict]:
    return json.loads(path.read_text()) if path.exists() else []


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", nargs="+", metavar="NAME", help=f"of {', '.join(ALL)} [default: the device's table]")
    parser.add_argument("--programs", nargs="+", choices=["a", "b", "c"], default=["a", "b", "c"])
    parser.add_argument("--rounds", type=int, help="measurements of each [default: 3; 1 with --quick]")
    parser.add_argument("--quick", action="store_true", help="tiny workloads: tests the way, measures nothing")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--out", type=Path, help="folder of RESULTS.md and results.json [default: benches/; a temporary one with --quick]")
    parser.add_argument("--wninit", type=Path, default=Path(os.environ.get("WNINIT", process.WNINIT)))
    parser.add_argument("--before", type=Path, metavar="PROGRAM", help="an earlier wninit, to compare with")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further measurement after this time")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="that one measurement may take")
    parser.add_argument("--resume", action="store_true",
                        help="write after each measurement, and measure only what --out has not yet; delete its results.json to measure all anew")
    parser.add_argument("--force", action="store_true", help="replace figures of a quiet machine by those of a busy one")
    parser.add_argument("--judge", action="store_true", help="only train what accuracies are compared on, for the figures in --out")
    parser.add_argument("--adopt", type=Path, metavar="JSON", help="only merge another session's results.json into --out")
    args = parser.parse_args()
    unknown = set(args.workloads or []) - set(ALL)
    if unknown:
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    args.rounds = args.rounds or (1 if args.quick else 3)
    args.out = args.out or (Path(tempfile.mkdtemp(prefix="wninit-bench-")) if args.quick else HERE)
    if args.out.resolve() == HERE and not args.adopt:
        if args.quick:
            parser.error("--quick measures nothing: its figures do not go into benches/; name another --out")
        if args.resume:
            parser.error("--resume writes unfinished tables, which do not go into benches/; name another --out")
        if args.rounds < 3 or not set(args.programs) >= {"a", "b", "c"}:
            parser.error("figures in benches/ come from all of a, b and c in 3 rounds or more; name another --out")
    if not args.adopt and not os.access(args.wninit, os.X_OK):
        parser.error(f"{args.wninit} is missing; `make build` makes it, or WNINIT names another")
    if args.before:
        if not os.access(args.before, os.X_OK):
            parser.error(f"--before {args.before}: there is no such program")
        args.before = args.before.resolve()
        args.programs.append("before")
    if args.device == "cuda" and not args.adopt and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here")
    args.wninit = args.wninit.resolve()
    return args


def main() -> int:
    args = parse()
    path = args.out / "results.json"
    if args.adopt:
        sessions = read_sessions(path)
        for other in reversed(json.loads(args.adopt.read_text())):
            if other["quick"]:
                raise SystemExit(f"{args.adopt}: a quick session measures nothing")
            sessions = merged(sessions, other)
        write(sessions, args.out)
        return 0
    if args.judge:
        sessions = read_sessions(path)
        judge_again(sessions, args)
        write(sessions, args.out)
        return disagreements(sessions)

    names = args.workloads or [workload.name for workload in (CPU if args.device == "cpu" else GPU)]
    measuring = Session(args)
    current, earlier = measuring.now, measuring.earlier
    if is_busy(current):
        print(f"warning: the machine is busy (load average {current['load_average']:.1f} on "
              f"{current['cores']} cores): these figures will say so", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="wninit-bench-") as folder:
        for name in names:
            print(ALL[name].title, flush=True)
            measuring.bench(ALL[name], Path(folder))
    current["busy"] = is_busy(current)

    quiet = {w["name"] for s in earlier if not s.get("busy") for w in s["workloads"]}
    lost = quiet & {w["name"] for w in current["workloads"]}
    if current["busy"] and lost and not (args.force or args.resume):
        args.out = Path(tempfile.mkdtemp(prefix="wninit-bench-"))
        earlier = []
        print(f"the machine was busy: the figures of a quiet one stay ({', '.join(sorted(lost))}); "
              "--force replaces them", file=sys.stderr)
    write(merged(earlier, current), args.out)
    print(report.table(current))
    print(f"written to {args.out}/RESULTS.md and results.json")
    return verdict(current, args)


def verdict(current: dict, args: argparse.Namespace) -> int:
    """The exit code."""
    finished = [w for w in current["workloads"] if not unmeasured(w, args)]
    failed = any(not failure["timed_out"] for failure in current["failed"])
    if failed or (not args.quick and disagreements([{**current, "workloads": finished}])):
        return 1
    return LATE if current["failed"] else 0


def disagreements(sessions: list[dict]) -> int:
    """1, and a line for each, if accuracies disagree or show nothing; else 0."""
    said = [(w["title"], report.agreement(w)) for session in sessions for w in session["workloads"]]
    for title, text in (pair for pair in said if pair[1] != "yes"):
        print(f"{title}: the accuracies do not agree: {text}", file=sys.stderr)
    return int(any(text != "yes" for _, text in said))


if __name__ == "__main__":
    sys.exit(main())

"""Starts a program and says what it cost: wall seconds, processor seconds and memory."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parent.parent
WNINIT = PROJECT / "target/release/wninit"


class Cost(NamedTuple):
    """Of one program and the ones that it started."""

    wall_s: float
    core_s: float  # user and system
    peak_mib: float  # of the largest process


def run(command: list[str], log: Path) -> Cost:
    """Run `command` with its output in `log`; exits if it fails."""
    with log.open("w") as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit code {child.returncode}\n{log.read_text()}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


class Memory(threading.Thread):
    """The peak memory of a process and all that it starts, in MiB, looked at twice a second while it runs.
    Pages that processes share are counted once."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak_mib, self.over = pid, 0.0, threading.Event()

    def __enter__(self) -> Memory:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, sum(map(proportional_mib, family(self.pid))))
            if self.over.wait(0.5):
                return


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        started = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [pid, *(member for children in started for child in children for member in family(int(child)))]


def proportional_mib(pid: int) -> float:
    """A process's memory and its share of what it shares with others; 0 if it has ended."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(row.split()[1]) / 1024 for row in rows if row.startswith("Pss:")), 0.0)


def cpu() -> str:
    """The processor, with the instruction sets that matter."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    text = info.read_text()
    names = re.findall(r"model name\s*: (.*)", text)
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if re.search(rf"\b{flag}\b", text)]
    return f"{names[0] if names else platform.processor()} ({', '.join(flags)})"


def commit() -> str:
    """The commit of the program that is timed."""
    version = subprocess.run([WNINIT, "--version"], check=True, capture_output=True, text=True).stdout
    return next((line.split()[1] for line in version.splitlines() if line.startswith("commit")), "unknown")

"""Starts a program and says what it cost: wall seconds, processor seconds and memory."""

from __future__ import annotations

import os
import subprocess
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


def commit() -> str:
    """The commit of the program that is timed."""
    version = subprocess.run([WNINIT, "--version"], check=True, capture_output=True, text=True).stdout
    return next((line.split()[1] for line in version.splitlines() if line.startswith("commit")), "unknown")

"""The parts of gpu.sh, with small programs in place of wninit and its tests. Run as test_benches.py."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu  # noqa: E402
from gpu import FAILED, NOT_RUN, PASSED, TIMED_OUT, Step  # noqa: E402

MACHINE = {"mode": "cpu", "gpu": None, "torch": "2", "cuda": "13", "python": "3", "programs": "p"}

# Lists and runs tests as libtest does. $COUNT counts the runs of `fine`; `slow` never ends.
LIBTEST = """#!/bin/sh
case "$*" in
  *--list*fine*) echo "a::fine: test" ;;
  *--list*) for name in fine wrong $MORE; do echo "a::$name: test"; done; printf '\\n2 tests, 0 benchmarks\\n' ;;
  *fine*) echo run >> "$COUNT"; printf '\\ntest result: ok. 1 passed; 0 failed\\n' ;;
  *wrong*) echo "running 1 test"
           echo "thread 'a::wrong' (7) panicked at a.rs:1:"
           i=0; while [ $i -lt 60 ]; do echo "line $i"; i=$((i + 1)); done
           exit 101 ;;
  *slow*) sleep 60 & echo $! > "$COUNT.child"; wait ;;
esac
"""


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


class Parts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = Path(folder.name) / "out"
        self.bin = Path(folder.name) / "bin"
        self.bin.mkdir()
        self.count = Path(folder.name) / "count"
        variables = mock.patch.dict(os.environ, COUNT=str(self.count), MORE="")
        variables.start()
        self.addCleanup(variables.stop)

    def part(self, name: str, seconds: float = 60.0, again: bool = False, **machine) -> gpu.Part:
        setting = gpu.Setting("cpu", self.bin, {**MACHINE, **machine})
        self.said, part = self.quietly(gpu.Part, name, setting, self.out, seconds, again)
        self.addCleanup(part.temporary.cleanup)
        return part

    def quietly(self, action, *arguments):
        """What it prints and what it returns."""
        with contextlib.redirect_stdout(io.StringIO()) as said:
            result = action(*arguments)
        return said.getvalue(), result

    def archived(self, name: str, file: str) -> str:
        with tarfile.open(self.out / f"{name}.tar.gz") as archive:
            return archive.extractfile(f"{name}/{file}").read().decode()

    def run_tests(self, only=(), **options) -> tuple[dict[str, str], str]:
        """Outcomes of the part of the tests with the program above, and what was printed."""
        program(self.bin / "test-torch", LIBTEST)
        with mock.patch.multiple(gpu, TESTS={"test-torch": ["a::"]}, TEST_SECONDS=5.0):
            part = self.part("tests", **options)
            said, _ = self.quietly(gpu.tests, part, list(only))
        self.assertEqual(len({step.name for step in part.steps}), len(part.steps))
        return {step.name: step.outcome for step in part.steps}, said

    def runs(self) -> int:
        return self.count.read_text().count("run")

    def test_a_test_that_takes_too_long_is_not_one_that_failed_and_a_panic_is_shown_whole(self):
        os.environ["MORE"] = "slow"
        outcomes, said = self.run_tests()
        self.assertEqual(outcomes, {"a::fine": PASSED, "a::slow": TIMED_OUT, "a::wrong": FAILED})
        for text in (said, self.archived("tests", "summary.txt")):
            for line in ("panicked at a.rs:1", "line 0", "line 59", "--only a::slow"):
                self.assertIn(line, text)
        child = int(self.count.with_suffix(".child").read_text())
        with self.assertRaises(ProcessLookupError, msg="what a test started ends with it"):
            for _ in range(100):
                os.kill(child, 0)
                if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
                    raise ProcessLookupError
                time.sleep(0.05)

    def test_tests_that_passed_are_not_run_again_and_others_are(self):
        self.run_tests()
        outcomes, said = self.run_tests()
        self.assertEqual(self.runs(), 1)
        self.assertEqual(outcomes, {"a::fine": PASSED, "a::wrong": FAILED})
        self.assertIn("tests: a::wrong", said)

    def test_anew_and_with_other_programs_all_is_done_again_and_no_file_is_lost(self):
        self.run_tests()
        self.run_tests(again=True)
        self.run_tests(programs="others")
        self.assertEqual(self.runs(), 3)
        self.assertEqual(len(list(self.out.glob("tests-until-*"))), 2)

    def test_chosen_tests_are_run_and_what_is_known_of_the_others_stays(self):
        self.run_tests()
        self.assertEqual(self.run_tests(only=["a::fine"])[0], {"a::fine": PASSED, "a::wrong": FAILED})
        self.assertEqual(self.runs(), 2)

    def test_a_filter_that_finds_no_test_fails(self):
        program(self.bin / "test-torch", "#!/bin/sh\necho '0 tests, 0 benchmarks'\n")
        program(self.bin / "test-nn", "#!/bin/sh\necho '0 tests, 0 benchmarks'\n")
        part = self.part("tests")
        self.quietly(gpu.tests, part, ["nothing"])
        self.assertEqual([step.outcome for step in part.steps], [FAILED])

    def test_the_exit_code_tells_a_failure_from_a_lack_of_time(self):
        passed, failed, late, none = (Step("", outcome) for outcome in (PASSED, FAILED, TIMED_OUT, NOT_RUN))
        self.assertEqual(gpu.exit_code([passed]), 0)
        self.assertEqual(gpu.exit_code([passed, late]), 3)
        self.assertEqual(gpu.exit_code([none]), 3)
        self.assertEqual(gpu.exit_code([late, failed, none]), 1)

    def test_what_no_time_is_left_for_is_not_run(self):
        part = self.part("table", seconds=0.0)
        part.run("late", ["true"])
        self.assertEqual([step.outcome for step in part.steps], [NOT_RUN])

    def test_a_program_that_is_missing_fails_its_step(self):
        with mock.patch.object(gpu, "TESTS", {"test-torch": ["a::"]}):
            part = self.part("tests")
            self.quietly(gpu.tests, part, [])
        self.assertEqual([step.outcome for step in part.steps], [FAILED])
        self.assertIn("No such file", part.steps[0].note)

    def test_a_signal_and_a_code_that_means_lateness_are_told(self):
        part = self.part("table")
        self.quietly(part.run, "crash", ["sh", "-c", "kill -SEGV $$"])
        self.quietly(part.run, "late", ["sh", "-c", "exit 3"], 9.0, (3,))
        self.quietly(part.run, "three", ["sh", "-c", "exit 3"])
        self.assertEqual([step.outcome for step in part.steps], [FAILED, TIMED_OUT, FAILED])
        self.assertIn("ended by signal 11", part.steps[0].note)

    def test_a_part_that_is_killed_has_left_what_it_did(self):
        code = ("import sys, gpu; from pathlib import Path; "
                f"part = gpu.Part('table', gpu.Setting('cpu', Path('/'), {MACHINE!r}), Path({str(self.out)!r}), 60); "
                "part.run('first', ['true']); part.run('second', ['sh', '-c', 'echo begun; exec sleep 3'])")
        process = subprocess.Popen([sys.executable, "-c", code], cwd=gpu.HERE, stdout=subprocess.DEVNULL)
        try:
            for _ in range(200):
                time.sleep(0.05)
                if (self.out / "table.tar.gz").exists() and "running second" in self.archived("table", "summary.txt"):
                    break
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.assertIn("running second", self.archived("table", "summary.txt"))
        part = self.part("table")
        self.assertEqual(part.before["first"].outcome, PASSED)

    def test_a_damaged_archive_is_kept_and_a_new_one_begun(self):
        self.out.mkdir()
        (self.out / "table.tar.gz").write_bytes(b"torn")
        self.part("table")
        self.assertIn("cannot be read", self.said)
        self.assertEqual(next(self.out.glob("table-until-*")).read_bytes(), b"torn")

    def test_the_smoke_run_wants_the_absurd_learning_rate_to_diverge_and_no_other(self):
        path = self.out.parent / "runs.csv"

        def fault(*rows: str, said: str = "", pretend: bool = False) -> str:
            path.write_text("\n".join(["outcome,lr", *rows]) + "\n")
            return gpu.smoke_fault(said, path, pretend)

        self.assertEqual(fault("ok,0.01", "diverged,1e30"), "")
        self.assertIn("0.01: diverged instead of ok", fault("diverged,0.01", "diverged,1e30"))
        self.assertIn("1e+30: ok instead of diverged", fault("ok,1e30"))
        self.assertEqual(fault("ok,1e30", pretend=True), "")
        self.assertIn("no rows", fault(pretend=True))
        self.assertIn("one by one", fault("ok,0.1", said="warning: kernels are launched one by one", pretend=True))

    def test_the_pretend_runtime_forgives_wrong_values_and_nothing_else(self):
        def outcome(note: str, code: int = 101) -> str:
            step = Step("t", FAILED, note=note, code=code)
            gpu.forgive(step)
            return step.outcome

        self.assertEqual(outcome("thread 't' panicked at a.rs:1:\noff by 1"), PASSED)
        self.assertEqual(outcome("thread 't' panicked at a.rs:1:\nCUDA error: operation not permitted"), FAILED)
        self.assertEqual(outcome("ended by signal 11", -11), FAILED)

    def test_a_way_that_cannot_go_is_a_result_and_wrong_values_are_a_failure(self):
        row = {"way": "dense", "layout": "nchw", "launch": "graph", "network": "n", "maps": "8", "precision": "fp32"}
        for note, outcome in (("out of memory", PASSED), ("off by 1e-1", FAILED)):
            step = Step("bakeoff", PASSED)
            gpu.judge_bakeoff(step, [{**row, "note": ""}, {**row, "note": note}])
            self.assertEqual(step.outcome, outcome)
            self.assertIn(f"1 rows timed, 1 not\ndense nchw graph, n 8 fp32: {note}", step.note)


if __name__ == "__main__":
    unittest.main()

"""The bench's own promises. Run: python -m unittest discover -s benches"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import baseline_careful  # noqa: E402
import baseline_harness  # noqa: E402
import conv_bakeoff  # noqa: E402
import decided  # noqa: E402
import gemm  # noqa: E402
import images  # noqa: E402
import models  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
import scale  # noqa: E402
from workloads import ALL, CPU, GPU  # noqa: E402

torch.set_num_threads(1)  # small tensors; and other tests may run beside these

GOLDEN = Path(__file__).resolve().parent.parent / "tests/fixtures/golden"


def read_safetensors(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    """Metadata and tensors: the length of a JSON header, the header, the numbers."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    kinds = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        numbers = bytearray(raw[start + begin:start + end])
        tensors[name] = torch.frombuffer(numbers, dtype=kinds[entry["dtype"]]).reshape(entry["shape"])
    return metadata, tensors


class Scale(unittest.TestCase):
    def test_every_planned_job_gets_a_row_with_its_own_fields_and_accuracy(self):
        trained = [{"job_id": "a", "depth": "2", "val_acc": "1", "best_val_acc": "1", "test_acc": "1", "device": "cpu"}]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "plan.csv").write_text("job_id,depth\nb,10\nc,20\nd,30\n")
            scale.finish(folder, folder / "plan.csv", trained)
            with (folder / "runs.csv").open(newline="") as runs:
                rows = list(csv.DictReader(runs))
        self.assertEqual([(row["job_id"], row["depth"], row["device"]) for row in rows],
                         [("b", "10", "cpu"), ("c", "20", "cpu"), ("d", "30", "cpu")])
        self.assertEqual(len({row["test_acc"] for row in rows}), 3)
        self.assertTrue(all(0 <= float(row["test_acc"]) <= 1 for row in rows))


class Decided(unittest.TestCase):
    def test_a_copy_of_the_grid_differs_in_its_seeds_only(self):
        with tempfile.TemporaryDirectory() as name:
            for axis in ("seed = { count = 6 }", "seed = [0, 1]"):
                grid = Path(name) / "grid.toml"
                grid.write_text(f"[grid]\nlr = [0.1]\n{axis}   # six\n")
                (Path(name) / "copy").mkdir(exist_ok=True)
                copy = Path(decided.with_seeds(grid, "[100, 101]", Path(name) / "copy"))
                self.assertEqual(copy.read_text(), "[grid]\nlr = [0.1]\nseed = [100, 101]   # six\n")
            grid.write_text("[grid]\nlr = [0.1]\n")
            with self.assertRaisesRegex(SystemExit, "0 lines"):
                decided.with_seeds(grid, "[100, 101]", Path(name) / "copy")


class Cost(unittest.TestCase):
    def test_memory_of_a_program_is_its_own_and_that_of_what_it_starts(self):
        held = "import time; x = bytearray(100 << 20); time.sleep({})"
        alone = [sys.executable, "-c", held.format(1)]
        both = [sys.executable, "-c", f"import subprocess, sys; c = subprocess.Popen({alone!r}); {held.format(1)}; c.wait()"]
        peaks = [run.execute(command)[1] for command in (alone, both)]
        for peak, megabytes in zip(peaks, (100, 200)):
            self.assertGreater(peak, megabytes)
            self.assertLess(peak, megabytes + 60)

    def test_every_library_multiplies(self):
        a, b = torch.randn(20, 30), torch.randn(30, 40)
        for library in gemm.libraries("fp32", "cpu"):
            out = torch.empty(20, 40)
            with torch.inference_mode():
                got = gemm.product(library, a, b, out)
            self.assertTrue(torch.allclose(got, a @ b, atol=1e-4), library)


class Networks(unittest.TestCase):
    def test_the_counted_parameters_are_those_of_the_network(self):
        for workload in [*CPU, *(w.quick() for w in GPU)]:
            for layers in (models.Fused(), models.Parametrized()):
                model = models.build(workload, layers)
                self.assertEqual(sum(p.numel() for p in model.parameters()), workload.parameters(), workload.name)

    def test_every_way_of_weight_norm_computes_the_same_network(self):
        for workload in (ALL["mlp-128"].quick(), ALL["resnet-20"].quick(), ALL["wrn-100-1"].quick()):
            x = torch.rand(4, *workload.shape) - 0.5
            logits = []
            for layers in (models.Fused(), models.Parametrized()):
                torch.manual_seed(0)
                model = models.build(workload, layers)
                torch.manual_seed(0)
                models.initialise(model, layers)
                logits.append(model(x))
            self.assertTrue(torch.allclose(*logits, rtol=1e-5, atol=1e-6), workload.name)

    def test_networks_agree_with_the_projects_float64_reference(self):
        checked = 0
        for path in sorted(GOLDEN.glob("*.safetensors")):
            metadata, tensors = read_safetensors(path)
            case = json.loads(metadata["case"])
            arch = dict(case["arch"])
            kind = arch.pop("kind")
            if case["norm"] != "weight" or kind not in ("mlp", "resnet", "wrn"):
                continue
            template = {"mlp": ALL["mlp-128"], "resnet": ALL["resnet-20"], "wrn": ALL["wrn-100-1"]}[kind]
            arch = {"reduced_memory": False, **arch} if kind == "wrn" else arch
            workload = baseline_careful.Workload(
                **{**template.__dict__, **arch, "shape": tuple(case["input"])})
            layers = models.Fused()
            model = models.build(workload, layers)
            model.head = torch.nn.Linear(model.head.in_features, case["classes"])
            names = {"head": model.head}
            if kind == "mlp":
                names |= {f"hidden.{i}": layer for i, layer in enumerate(model.hidden)}
            else:
                names["stem"] = model.stem
                for i, block in enumerate(model.blocks):
                    stage, b = divmod(i, workload.blocks)
                    names |= {f"stages.{stage}.{b}.{part}": getattr(block, part) for part in ("conv1", "conv2", "shortcut")}
            with torch.no_grad():
                for name, layer in names.items():
                    for part, value in layer.named_parameters(recurse=False):
                        value.copy_(tensors[f"init/{name}.{part}"].view_as(value))
                logits = model(tensors["x"][0])
            self.assertTrue(torch.allclose(logits, tensors["logits0"], rtol=1e-4, atol=1e-4), path.name)
            checked += 1
        self.assertGreaterEqual(checked, 3)


class Augmentation(unittest.TestCase):
    def test_a_crop_is_one_of_the_padded_image_or_of_its_mirror_image(self):
        pixels = torch.randint(256, (3, 2, 6, 5), dtype=torch.uint8)
        floats = pixels.float() / 255 - 0.5
        crops = baseline_careful.Crops(floats.permute(0, 2, 3, 1).contiguous())
        for dy, dx, flip in ((0, 0, 0), (4, 4, 0), (4, 4, 1), (8, 3, 1)):
            batch = crops.batch(torch.tensor([2]), torch.tensor([[dy, dx, flip]]))
            image = floats[2].flip(-1) if flip else floats[2]
            padded = torch.nn.functional.pad(image, (4, 4, 4, 4), value=-0.5)
            self.assertTrue(torch.equal(batch[0], padded[:, dy:dy + 6, dx:dx + 5]))
            self.assertTrue(batch.is_contiguous(memory_format=torch.channels_last))

    def test_both_baselines_normalise_alike(self):
        workload = ALL["resnet-20"].quick()
        ours = baseline_careful.on_device(workload, torch.device("cpu"))[0].batch(torch.arange(5))[0]
        theirs = torch.stack([baseline_harness.normalise(image) for image in images.load(workload)[0][:5]])
        self.assertTrue(torch.equal(ours, theirs))


class Training(unittest.TestCase):
    def test_both_baselines_learn_and_agree(self):
        workload = ALL["mlp-128"].quick()
        workload = baseline_careful.Workload(**{**workload.__dict__, "lr": 0.1, "epochs": 4})
        arguments = type("Arguments", (), {"device": "cpu", "weight_norm": "fused", "optimizer": "fused",
                                           "compile": False, "graph": True})
        careful = baseline_careful.Trainer(workload, baseline_careful.on_device(workload, torch.device("cpu")), arguments)
        first = careful.train(0)
        careful.train(1)
        self.assertEqual(careful.train(0), first, "a job leaves nothing behind for the next one")
        harness = baseline_harness.train(workload, images.load(workload), 0, torch.device("cpu"), 0)
        self.assertGreater(first["test_acc"], 0.8)
        self.assertAlmostEqual(first["test_acc"], harness["test_acc"], delta=0.15)

    def test_every_way_of_the_bake_off_is_a_convolution(self):
        for case in conv_bakeoff.QUICK:
            rows = list(conv_bakeoff.rows(case, "cpu", 0.0))
            self.assertEqual([row["note"] for row in rows], [""] * len(rows))

    def test_the_bake_off_accepts_no_wrong_values_and_no_nan(self):
        for off, pretend, note in ((0.5, False, "off by 5.0e-01"), (math.nan, False, "off by nan"), (math.nan, True, "")):
            with mock.patch.object(conv_bakeoff, "error", return_value=off):
                row = next(conv_bakeoff.rows(conv_bakeoff.QUICK[0], "cpu", 0.0, pretend=pretend))
            self.assertEqual(row["note"], note)

    def test_the_bake_off_goes_on_where_it_was_stopped(self):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, conv_bakeoff.__file__, "--device", "cpu", "--quick", "--out", folder]
            subprocess.run(command, check=True, capture_output=True)
            path = Path(folder) / "bakeoff.csv"
            lines = path.read_text().splitlines()
            self.assertEqual(len(lines), 11)
            path.write_text("\n".join(lines[:4]) + "\n")
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            again = path.read_text().splitlines()
            self.assertIn("3 rows are there already", said)
            self.assertEqual(again[:4], lines[:4])
            figures = ("milliseconds", "tflops")
            keys = [[{k: v for k, v in row.items() if k not in figures} for row in csv.DictReader(text)] for text in (lines, again)]
            self.assertEqual(*keys)


class Results(unittest.TestCase):
    def session(self, **more) -> dict:
        measured = {"jobs": 2, "seconds": 10.0, "startup": 2.0, "test_acc": [0.8, 0.82], "others": 0.0, "peak_mib": 700.0}
        fast = {**measured, "seconds": 2.5, "git_sha": "abc", "cohort": 2, "peak_mib": 300.0}
        larger = {**measured, "peak_mib": 900.0}
        workload = {"name": "w", "title": "W", "precision": "fp32", "test": 1000, "job_flop": 1e9,
                    "rounds": {"a": [measured] * 3, "b": [larger] * 3, "c": [fast] * 3},
                    "gemm": {"layer": [2e9] * 3, "1024² torch.mm": [4e9] * 3}, "targets": {"vs_a": 5, "vs_b": 4}}
        return {"device": "cpu", "quick": False, "rounds": 3, "started_at": "2026-01-01T00:00:00+00:00", "cpu": "CPU",
                "gpu": None, "cores": 2, "load_average": 0.1, "torch": "2", "python": "3", "git_sha": "abc",
                "workloads": [copy.deepcopy(workload)], **more}

    def test_the_table_names_ratios_targets_and_the_share_of_the_gemm_rate(self):
        table = report.table(self.session())
        self.assertIn("4.00× (≥ 5×: missed)", table)
        self.assertIn("4.00× (≥ 4×: met)", table)
        self.assertIn("720 (720–720)", table)
        figures = report.figures(self.session()["workloads"][0])
        self.assertAlmostEqual(figures["fraction"], 0.8e9 / 4e9, msg="of the best product")
        self.assertIn("4, 1024² torch.mm", table)
        self.assertIn("| 700 / 900 / 300 |", table)
        self.assertAlmostEqual(figures["vs_a_alone"], 7 / 1.25)

    def test_an_earlier_wninit_has_a_table_of_its_own_and_is_not_judged(self):
        session = self.session()
        self.assertNotIn("before", report.table(session))
        rounds = session["workloads"][0]["rounds"]
        rounds["before"] = [{**rounds["c"][0], "seconds": 5.0, "git_sha": "old", "test_acc": [0.1], "peak_mib": 400.0}] * 3
        table = report.table(session)
        self.assertIn("wninit of old, jobs/h", table)
        self.assertIn("| W | 1,440 (1,440–1,440) | 2,880 (2,880–2,880) | 2.00× | 400 / 300 |", table)
        self.assertEqual(report.agreement(session["workloads"][0]), "yes")

    def test_accuracies_that_disagree_are_named(self):
        workload = self.session()["workloads"][0]
        self.assertEqual(report.agreement(workload), "yes")
        workload["rounds"]["c"][0]["test_acc"] = [0.5, 0.52]
        self.assertEqual(report.agreement(workload), "NO: a–c, b–c")

    def test_accuracies_at_chance_agree_on_nothing(self):
        guess = {"title": "W on w", "test": 1000, "test_acc": {"a": [0.104], "b": [0.094, 0.101], "c": [0.125, 0.1]}}
        session = self.session()
        workload = session["workloads"][0]
        workload["judged"] = guess
        self.assertEqual(report.agreement(workload), "NOT TESTED: a, b, c at chance (0.1)")
        self.assertIn("| W on w | 0.104", report.table(session))
        self.assertEqual(run.disagreements([session]), 1)
        guess["test_acc"] |= {"a": [0.7], "b": [0.71, 0.69]}
        self.assertEqual(report.agreement(workload), "NOT TESTED: c at chance (0.1)")
        guess["test_acc"]["c"] = [0.7, 0.72]
        self.assertEqual(run.disagreements([session]), 0)

    def test_a_busy_machine_is_said_and_a_later_session_replaces_what_it_measured(self):
        self.assertTrue(run.is_busy(self.session(load_average=1.5)))
        self.assertFalse(run.is_busy(self.session()))
        self.assertIn("busy", report.markdown([self.session(busy=True)]))
        merged = run.merged([self.session()], self.session(started_at="2026-02-02T00:00:00+00:00"))
        self.assertEqual([s["started_at"][:4 + 3] for s in merged], ["2026-02"])

    def test_quick_figures_never_reach_the_committed_ones(self):
        for extra in (["--quick", "--out", str(run.HERE)], ["--resume"], ["--rounds", "1"], ["--workloads", "mlp-129"]):
            done = subprocess.run([sys.executable, str(run.HERE / "run.py"), *extra], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stderr)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            path.write_text(json.dumps([self.session(quick=True)]))
            done = subprocess.run([sys.executable, str(run.HERE / "run.py"), "--adopt", str(path), "--out", folder],
                                  capture_output=True, text=True)
            self.assertIn("quick session", done.stderr)


class Resuming(unittest.TestCase):
    """run.py with pretended measurements."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.args = argparse.Namespace(device="cpu", quick=False, rounds=2, programs=["a", "b", "c"], resume=True, minutes=9.0,
                                       limit=None, force=False, out=Path(folder.name) / "out", wninit=Path(sys.executable))
        self.measured: list[str] = []
        self.fails: dict[int, Exception] = {}  # by the number of the measurement
        for name, stand_in in (("measure", self.measure), ("cross_check", lambda *_: None), ("fastest_loaders", lambda *_: 0)):
            patch = mock.patch.object(run, name, stand_in)
            patch.start()
            self.addCleanup(patch.stop)
        patch = mock.patch.object(run.gemm, "rate", return_value=1e9)
        patch.start()
        self.addCleanup(patch.stop)

    def measure(self, program, _workload, _args, _folder, _loaders=None, variant="timed") -> dict:
        self.measured.append(program)
        if error := self.fails.get(len(self.measured)):
            raise error
        return {"jobs": 1, "seconds": 1.0, "startup": 0.0, "test_acc": [0.8], "others": 0.0,
                **({"git_sha": "abc", "cohort": 1} if program == "c" else {})}

    def call(self) -> tuple[int, str]:
        """Exit code, and the programs that were measured."""
        self.measured.clear()
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            session = run.Session(self.args)
            session.bench(ALL["mlp-128"], Path("unused"))
            code = run.verdict(session.now, self.args)
        return code, "".join(self.measured)

    def rounds(self) -> dict[str, int]:
        sessions = json.loads((self.args.out / "results.json").read_text())
        self.assertEqual(len(sessions), 1)
        return {p: len(ms) for p, ms in sessions[0]["workloads"][0]["rounds"].items()}

    def test_a_measurement_that_takes_too_long_costs_only_its_program_and_is_tried_again(self):
        self.fails = {5: run.TimedOut("slow")}
        self.assertEqual(self.call(), (run.LATE, "abcabc"))
        self.assertEqual(self.rounds(), {"a": 2, "b": 1, "c": 2})
        table = (self.args.out / "RESULTS.md").read_text()
        self.assertIn("unfinished, rounds: a 2, b 1, c 2", table)
        self.assertIn("Not measured: mlp-128, (b)", table)
        self.fails = {}
        self.assertEqual(self.call(), (0, "b"))
        self.assertEqual(self.call(), (0, ""))
        self.assertNotIn("ot measured", (self.args.out / "RESULTS.md").read_text())

    def test_a_failure_leaves_the_figures_of_the_others_and_fails(self):
        self.fails = {2: SystemExit("broken"), 4: run.TimedOut("slow")}
        self.assertEqual(self.call(), (1, "abcac"))
        self.assertEqual(self.rounds(), {"a": 1, "c": 2})

    def test_what_is_stopped_leaves_what_was_measured(self):
        self.fails = {5: KeyboardInterrupt()}
        with self.assertRaises(KeyboardInterrupt):
            self.call()
        self.assertEqual(self.rounds(), {"a": 2, "b": 1, "c": 1})
        self.fails = {}
        self.assertEqual(self.call(), (0, "bc"))

    def test_nothing_is_begun_when_the_time_is_over(self):
        self.args.minutes = -1.0
        self.assertEqual(self.call(), (run.LATE, ""))

    def test_figures_of_another_program_or_machine_are_not_continued(self):
        self.call()
        with mock.patch.object(run, "fingerprint", return_value="other"):
            self.assertEqual(self.call(), (0, "abcabc"))

    def test_without_git_the_commit_is_the_one_that_wninit_was_built_of(self):
        with mock.patch.dict(os.environ, PATH=""):
            self.call()
        self.assertEqual(json.loads((self.args.out / "results.json").read_text())[0]["git_sha"], "abc")

    def test_a_process_that_takes_too_long_is_not_one_that_failed(self):
        with self.assertRaises(run.TimedOut):
            run.execute(["sleep", "60"], 0.1)
        with self.assertRaises(SystemExit):
            run.execute(["false"], 60.0)


if __name__ == "__main__":
    unittest.main()

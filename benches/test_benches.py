"""The bench's own promises. Run: python -m unittest discover -s benches"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import baseline_careful  # noqa: E402
import baseline_harness  # noqa: E402
import conv_bakeoff  # noqa: E402
import images  # noqa: E402
import models  # noqa: E402
import report  # noqa: E402
import run  # noqa: E402
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


class Results(unittest.TestCase):
    def session(self, **more) -> dict:
        measured = {"jobs": 2, "seconds": 10.0, "startup": 2.0, "test_acc": [0.8, 0.82], "others": 0.0}
        fast = {**measured, "seconds": 2.5, "git_sha": "abc", "cohort": 2}
        workload = {"name": "w", "title": "W", "precision": "fp32", "test": 1000, "job_flop": 1e9,
                    "rounds": {"a": [measured] * 3, "b": [measured] * 3, "c": [fast] * 3},
                    "gemm": {"layer": [2e9] * 3, "square": [4e9] * 3}, "targets": {"vs_a": 5, "vs_b": 4}}
        return {"device": "cpu", "quick": False, "rounds": 3, "started_at": "2026-01-01T00:00:00+00:00", "cpu": "CPU",
                "gpu": None, "cores": 2, "load_average": 0.1, "torch": "2", "python": "3", "git_sha": "abc",
                "workloads": [copy.deepcopy(workload)], **more}

    def test_the_table_names_ratios_targets_and_the_share_of_the_gemm_rate(self):
        table = report.table(self.session())
        self.assertIn("4.00× (≥ 5×: missed)", table)
        self.assertIn("4.00× (≥ 4×: met)", table)
        self.assertIn("720 (720–720)", table)
        figures = report.figures(self.session()["workloads"][0])
        self.assertAlmostEqual(figures["fraction"], 0.8e9 / 2e9)
        self.assertAlmostEqual(figures["vs_a_alone"], 7 / 1.25)

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
        for extra in (["--quick", "--out", str(run.HERE)], ["--rounds", "1"], ["--workloads", "mlp-129"]):
            done = subprocess.run([sys.executable, str(run.HERE / "run.py"), *extra], capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stderr)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "results.json"
            path.write_text(json.dumps([self.session(quick=True)]))
            done = subprocess.run([sys.executable, str(run.HERE / "run.py"), "--adopt", str(path), "--out", folder],
                                  capture_output=True, text=True)
            self.assertIn("quick session", done.stderr)


if __name__ == "__main__":
    unittest.main()

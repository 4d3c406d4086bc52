"""The workloads of the bench: what is trained, how large a measurement is, what it should reach.

Everything that the three programs must agree on stands here once: data, network, batch size,
epochs, images held out. `grid()` says it to wninit, the fields say it to the two baselines.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import NamedTuple

CLASSES = 10
BATCH = 128
VARIANTS = ["timed", "judged", "quick"]
MOMENTUM = 0.9


class Layer(NamedTuple):
    """`times` equal layers; a convolution is applied at `places` positions of an image."""

    times: int
    fan_in: int
    out: int
    places: int
    normalised: bool = True


@dataclass(frozen=True)
class Workload:
    """A sweep over seeds of one job."""

    name: str
    title: str
    model: str  # mlp, resnet, wrn
    shape: tuple[int, int, int]  # channels, height, width
    images: int  # training images of the data set, validation included
    lr: float
    jobs: dict[str, int]  # jobs of one measurement: a, b, c
    dataset: str = "synthetic"
    precision: str = "fp32"
    augment: str = "none"
    depth: int = 0
    width: int = 0
    blocks: int = 0
    k: int = 1
    reduced_memory: bool = False
    train_images: int | None = None  # all that validation leaves
    test_images: int = 0  # that a job is tested on, of a data set that is not synthetic
    val_fraction: float = 0.1
    epochs: int = 1
    targets: dict[str, float] = field(default_factory=dict)  # vs_a, vs_b, fraction

    def split(self) -> tuple[int, int, int]:
        """Images that a job trains on, validates on and is tested on."""
        val = math.floor(self.images * self.val_fraction + 0.5)
        train = self.train_images or self.images - val
        return train, val, self.test_images or max(self.images // 5, CLASSES)

    def quick(self) -> Workload:
        """A tiny workload of the same kind that goes the same way in seconds."""
        small = {"mlp": {"depth": 3, "width": 32}}.get(self.model, {"blocks": 1})
        return dataclasses.replace(
            self, **small, k=min(self.k, 2), dataset="synthetic", test_images=0, images=800,
            train_images=600, epochs=2, jobs={"a": 1, "b": 2, "c": 4}, targets={})

    def judged(self) -> Workload:
        """What the programs' accuracies are compared on. After the few steps that are right to time, the
        accuracies of two seeds differ more than two seeds show, or stay at chance. So these train a network of the
        same kind, of up to 16 layers, for six epochs; an MLP learns enough while it is timed."""
        if self.model == "mlp":
            return self
        return dataclasses.replace(
            self, **FASHION, train_images=2_560, val_fraction=0.02, blocks=min(self.blocks, 2), k=min(self.k, 2),
            lr=JUDGED_LR[self.model], epochs=JUDGED_EPOCHS, jobs={"a": 2, "b": 4, "c": 4}, targets={})

    def variant(self, name: str) -> Workload:
        """One of VARIANTS."""
        return {"timed": lambda: self, "judged": self.judged, "quick": self.quick}[name]()

    def grid(self, name: str, jobs: int) -> str:
        """The grid that asks wninit for it."""
        base: dict[str, object] = {
            "dataset": self.dataset, "model": self.model, "norm": "weight",
            "init": "orthogonal_proposed", "precision": self.precision, "lr": self.lr,
            "momentum": MOMENTUM, "batch_size": BATCH, "epochs": self.epochs,
            "augment": self.augment, "val_fraction": self.val_fraction}
        if self.dataset == "synthetic":
            base |= {"synthetic_shape": list(self.shape), "synthetic_classes": CLASSES,
                     "synthetic_images": self.images}
        if self.train_images:
            base["train_images"] = self.train_images
        if 0 < self.test_images < FASHION["test_images"]:
            base["test_images"] = self.test_images
        base |= {"mlp": {"depth": self.depth, "width": self.width},
                 "resnet": {"blocks": self.blocks, "width": self.width},
                 "wrn": {"blocks": self.blocks, "k": self.k, "reduced_memory": self.reduced_memory},
                 }[self.model]
        lines = [f'name = "{name}"', "", "[base]"]
        lines += [f"{key} = {toml(value)}" for key, value in base.items()]
        return "\n".join([*lines, "", "[grid]", f"seed = {{ count = {jobs} }}", ""])

    def layers(self) -> list[Layer]:
        """Every linear layer and convolution, the head last."""
        channels, height, width = self.shape
        if self.model == "mlp":
            hidden = [Layer(1, channels * height * width, self.width, 1)]
            hidden.append(Layer(self.depth - 1, self.width, self.width, 1))
            return [*hidden, Layer(1, self.width, CLASSES, 1, normalised=False)]
        stem, stages = self.stages()
        size = [-(-side // (2 if self.reduced_memory else 1)) for side in (height, width)]
        rows = [Layer(1, channels * 9, stem, size[0] * size[1])]
        before = stem
        for stage, maps in enumerate(stages):
            stride = 1 if stage == 0 else 2
            size = [-(-side // stride) for side in size]
            places = size[0] * size[1]
            rows.append(Layer(1, before * 9, maps, places))
            rows.append(Layer(2 * self.blocks - 1, maps * 9, maps, places))
            if before != maps or stride > 1:
                rows.append(Layer(1, before, maps, places))
            before = maps
        return [*rows, Layer(1, before, CLASSES, 1, normalised=False)]

    def stages(self) -> tuple[int, list[int]]:
        """Channels of the stem and of the three stages."""
        first, stem = (self.width, self.width) if self.model == "resnet" else (16 * self.k, 16)
        return stem, [first, 2 * first, 4 * first]

    def parameters(self) -> int:
        """Trained numbers: directions (or weights), gains and biases."""
        return sum(l.times * (l.fan_in * l.out + l.out * (2 if l.normalised else 1))
                   for l in self.layers())

    def forward_flop(self) -> int:
        """Operations of one image's forward pass; a multiply-add is two."""
        return sum(l.times * 2 * l.fan_in * l.out * l.places for l in self.layers())

    def job_flop(self) -> float:
        """Operations of a job: training (the first layer's input needs no gradient), validation
        after each epoch, one test. Products only, as wninit's own cost model counts them."""
        first = self.layers()[0]
        forward = self.forward_flop()
        train, val, test = self.split()
        training = 3 * forward - 2 * first.fan_in * first.out * first.places
        return self.epochs * (training * train + forward * val) + forward * test

    def gemm(self) -> tuple[int, int, int]:
        """The product [m, k] @ [k, n] of the layer kind in which most of the arithmetic lies; for
        a convolution the one that computes it after im2col."""
        layer = max(self.layers(), key=lambda l: l.times * l.fan_in * l.out * l.places)
        return BATCH * layer.places, layer.fan_in, layer.out


def toml(value: object) -> str:
    """A TOML value."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


# Residual networks without a ReLU after the sum diverge at 0.02 in some seeds; WRN do not.
JUDGED_LR, JUDGED_EPOCHS = {"resnet": 0.01, "wrn": 0.02}, 6

FASHION = {"dataset": "fashion-mnist", "shape": (1, 28, 28), "images": 60_000, "test_images": 10_000}
CIFAR = {"shape": (3, 32, 32), "augment": "crop_flip"}
# Few images for validation and test, so that training is what is timed.
CONVOLUTIONS = {**FASHION, "augment": "crop_flip", "val_fraction": 0.01, "test_images": 1_000}

# Jobs of (c) fill two workers with cohorts of the width that wninit takes by itself: 8 for an MLP, 1 for
# convolutions.
CPU = [
    Workload("mlp-128", "MLP depth 10, width 128", "mlp", depth=10, width=128, lr=0.01, **FASHION,
             jobs={"a": 1, "b": 8, "c": 16}, targets={"vs_a": 20, "vs_b": 2.3}),
    Workload("mlp-500", "MLP depth 10, width 500", "mlp", depth=10, width=500, lr=0.01, **FASHION,
             jobs={"a": 1, "b": 2, "c": 16}, targets={"vs_a": 3.4, "vs_b": 1.5, "fraction": 0.65}),
    Workload("mlp-500-bf16", "MLP depth 10, width 500, bf16", "mlp", depth=10, width=500, lr=0.01,
             precision="bf16", **FASHION, jobs={"a": 1, "b": 2, "c": 16},
             targets={"vs_a": 6, "vs_b": 1.6, "fraction": 0.35}),
    Workload("resnet-20", "ResNet-20", "resnet", blocks=3, width=16, lr=0.01, train_images=2_560, epochs=2,
             **CONVOLUTIONS, jobs={"a": 1, "b": 2, "c": 2},
             targets={"vs_a": 1.4, "vs_b": 1.25, "fraction": 0.8}),
    Workload("resnet-20-bf16", "ResNet-20, bf16", "resnet", blocks=3, width=16, lr=0.01, train_images=2_560,
             epochs=2, precision="bf16", **CONVOLUTIONS, jobs={"a": 1, "b": 2, "c": 2},
             targets={"vs_a": 4, "vs_b": 1.25, "fraction": 0.8}),
    Workload("wrn-100-1", "WRN-100-1, reduced memory", "wrn", blocks=16, reduced_memory=True, lr=0.02,
             train_images=1_280, epochs=4, **CONVOLUTIONS, jobs={"a": 1, "b": 2, "c": 2},
             targets={"vs_a": 1.4, "vs_b": 1.25, "fraction": 0.8}),
]

GPU = [
    Workload("gpu-mlp-512", "MLP depth 10, width 512, 64 members", "mlp", depth=10, width=512,
             lr=0.01, shape=(1, 28, 28), images=60_000, jobs={"a": 1, "b": 4, "c": 64},
             targets={"vs_a": 50, "vs_b": 10}),
    Workload("gpu-resnet-56", "ResNet-56, 16 members", "resnet", blocks=9, width=16, lr=0.02,
             images=14_400, train_images=12_800, **CIFAR, jobs={"a": 1, "b": 2, "c": 16},
             targets={"vs_a": 10, "vs_b": 3}),
    Workload("gpu-wrn-1000-1", "WRN-1000-1, reduced memory, 8 members", "wrn", blocks=166,
             reduced_memory=True, lr=0.01, images=2_880, train_images=2_560, **CIFAR,
             jobs={"a": 1, "b": 1, "c": 8}, targets={"vs_a": 6}),
    Workload("gpu-wrn-40-10", "WRN-40-10, bf16", "wrn", blocks=6, k=10, lr=0.01, images=5_760,
             train_images=5_120, precision="bf16", **CIFAR, jobs={"a": 1, "b": 1, "c": 2},
             targets={"vs_a": 2, "vs_b": 1}),
]

ALL = {workload.name: workload for workload in [*CPU, *GPU]}

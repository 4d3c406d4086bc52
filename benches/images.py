"""The images of a workload, as bytes: `[image, channel, height, width]` with labels `[image]`."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workloads import CLASSES, Workload

NOISE_SD = 64.0  # grey levels


def load(workload: Workload) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels."""
    if workload.dataset == "synthetic":
        arrays = synthetic(workload)
    else:
        folder = data_folder() / workload.dataset
        arrays = tuple(idx(folder / f"{part}-{what}") for part in ("train", "t10k")
                       for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    train, train_labels, test, test_labels = map(torch.from_numpy, arrays)
    tested = workload.split()[2]
    return (train.view(-1, *workload.shape), train_labels.long(),
            test.view(-1, *workload.shape)[:tested], test_labels.long()[:tested])


def data_folder() -> Path:
    """`WNINIT_DATA`, else `data` beside this folder."""
    named = os.environ.get("WNINIT_DATA")
    return Path(named) if named else Path(__file__).resolve().parent.parent / "data"


def idx(path: Path) -> np.ndarray:
    """An IDX file of bytes, gzip or not."""
    if path.exists():
        raw = path.read_bytes()
    elif path.with_name(path.name + ".gz").exists():
        raw = gzip.decompress(path.with_name(path.name + ".gz").read_bytes())
    else:
        raise SystemExit(f"{path} is missing; get it with `wninit fetch {path.parent.name}`")
    rank = raw[3]
    shape = np.frombuffer(raw, ">i4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def synthetic(workload: Workload) -> tuple[np.ndarray, ...]:
    """Noisy class prototypes by the recipe of wninit's own `synthetic` set, with other draws: the
    same shape, number, type and difficulty."""
    draws = np.random.default_rng(0)
    channels, height, width = workload.shape
    pixels = channels * height * width
    amplitude = max(6.0 / (2.0 * pixels) ** 0.5, 0.2) * NOISE_SD / 73.9
    rows, columns = min(height, 8), min(width, 8)
    levels = 128 + (draws.integers(0, 256, (CLASSES, channels, rows, columns)) - 127.5) * amplitude
    prototypes = levels[..., np.arange(height) * rows // height, :]
    prototypes = prototypes[..., np.arange(width) * columns // width].astype(np.float32)

    def images(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % CLASSES
        noise = draws.standard_normal((count, *workload.shape), dtype=np.float32) * NOISE_SD
        return (prototypes[labels] + noise).clip(0, 255).astype(np.uint8), labels

    return (*images(workload.images), *images(workload.split()[2]))

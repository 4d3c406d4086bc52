"""Baseline (a): the harness that one writes first in PyTorch.

A Dataset with transforms, a DataLoader, `parametrizations.weight_norm`, `torch.optim.SGD`, eager
mode, all cores, one job after the other; validation after each epoch, a test with the best epoch's
parameters. Its choices are the documented ones, and where they leave room, the fastest measured:
images are tensors from the start (no PIL), and batches are loaded in the training process, or by
`--loader-workers` others.

    python baseline_harness.py WORKLOAD --jobs N

prints one line of JSON: when the work began (after the imports) and each job's accuracies.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, random_split

import images
import models
from workloads import ALL, BATCH, MOMENTUM, VARIANTS, Workload


class ImageDataset(Dataset):
    """Images in memory, transformed one by one."""

    def __init__(self, pixels: Tensor, labels: Tensor, transform) -> None:
        self.pixels, self.labels, self.transform = pixels, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.pixels[index]), self.labels[index]


def normalise(image: Tensor) -> Tensor:
    """`x/255 − 0.5`."""
    return image.float().div_(255).sub_(0.5)


def crop_flip_normalise(image: Tensor) -> Tensor:
    """A random crop after 4 zero pixels of padding, a flip with p = ½, then `normalise`."""
    height, width = image.shape[1:]
    dy, dx, flip = torch.randint(9, ()).item(), torch.randint(9, ()).item(), torch.rand(()).item()
    image = F.pad(image, (4, 4, 4, 4))[:, dy:dy + height, dx:dx + width]
    return normalise(image.flip(-1) if flip < 0.5 else image)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader, device: torch.device) -> tuple[float, float]:
    """Mean loss and accuracy."""
    model.eval()
    loss, correct, count = 0.0, 0, 0
    for x, y in loader:
        x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
        logits = model(x)
        loss += F.cross_entropy(logits, y, reduction="sum").item()
        correct += (logits.argmax(1) == y).sum().item()
        count += len(y)
    return loss / count, correct / count


def train(workload: Workload, data, seed: int, device: torch.device, loader_workers: int) -> dict:
    """One job, from its seed to a row of results."""
    torch.manual_seed(seed)
    train_pixels, train_labels, test_pixels, test_labels = data
    augmented = crop_flip_normalise if workload.augment == "crop_flip" else normalise
    train_images, val_images, _ = workload.split()
    rest = len(train_labels) - val_images
    parts = random_split(range(len(train_labels)), [rest, val_images])
    train_set = Subset(ImageDataset(train_pixels, train_labels, augmented), parts[0].indices[:train_images])
    val_set = Subset(ImageDataset(train_pixels, train_labels, normalise), parts[1].indices)
    test_set = ImageDataset(test_pixels, test_labels, normalise)
    options = {"batch_size": BATCH, "num_workers": loader_workers,
               "persistent_workers": loader_workers > 0, "pin_memory": device.type == "cuda"}
    train_loader = DataLoader(train_set, shuffle=True, **options)
    val_loader, test_loader = DataLoader(val_set, **options), DataLoader(test_set, **options)

    layers = models.Parametrized()
    model = models.build(workload, layers)
    models.initialise(model, layers)
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr, momentum=MOMENTUM)
    best_accuracy, best_state = -1.0, None
    for _ in range(workload.epochs):
        model.train()
        loss_sum, correct = 0.0, 0
        for x, y in train_loader:
            x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
            optimizer.zero_grad()
            logits = model(x)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            if not math.isfinite(loss.item()):
                raise SystemExit(f"{workload.name}: seed {seed} diverged; the bench wants jobs that do not")
            loss_sum += loss.item() * len(y)
            correct += (logits.argmax(1) == y).sum().item()
        _, val_accuracy = evaluate(model, val_loader, device)
        if val_accuracy > best_accuracy:
            best_accuracy, best_state = val_accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    test_loss, test_accuracy = evaluate(model, test_loader, device)
    return {"seed": seed, "train_loss": loss_sum / train_images, "train_acc": correct / train_images,
            "val_acc": best_accuracy, "test_loss": test_loss, "test_acc": test_accuracy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", choices=ALL)
    parser.add_argument("--jobs", type=int, default=1, help="seeds 0, 1, … are trained")
    parser.add_argument("--variant", choices=VARIANTS, default="timed", help="of the workload")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--loader-workers", type=int, help="processes of each DataLoader [default: none on the CPU, up to 8 with a GPU]; run.py measures which is faster")
    parser.add_argument("--csv", type=Path, help="append a row for each finished job")
    args = parser.parse_args()

    models.warm_up()
    started_at = time.time()
    workload = ALL[args.workload].variant(args.variant)
    device = torch.device(args.device)
    torch.backends.cudnn.allow_tf32 = False
    workers = args.loader_workers
    if workers is None:
        workers = 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)
    data = images.load(workload)
    rows = []
    for seed in range(args.jobs):
        rows.append(train(workload, data, seed, device, workers))
        if args.csv:
            new = not args.csv.exists()
            with args.csv.open("a", newline="") as file:
                writer = csv.DictWriter(file, rows[-1])
                if new:
                    writer.writeheader()
                writer.writerow(rows[-1])
    print(json.dumps({"started_at": started_at, "rows": rows}))


if __name__ == "__main__":
    main()

"""Baseline (b): the loop of someone who knows PyTorch well.

All images lie on the device as normalised floats, a batch is one indexing operation (crop and flip
included), there is no DataLoader and nothing waits for the device inside an epoch. Weight norm is
libtorch's fused kernel without a parametrization around it. On the CPU one process a core with one
thread each takes jobs from a common queue, denormals are flushed, convolutions run channels-last;
on a GPU the step is captured once as a CUDA graph and replayed. A process keeps its network and
its graph from job to job and only initialises it anew.

    python baseline_careful.py WORKLOAD --jobs N

prints one line of JSON: when the work began (after the imports), the seconds of torch.compile in it and
each job's accuracies. What the other options choose was measured; benches/README.md says what came of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import time
from pathlib import Path
from typing import NamedTuple

import torch
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F
from torch import Tensor, nn

import images
import models
from workloads import ALL, BATCH, MOMENTUM, VARIANTS, Workload

EVAL_BATCH = {"cpu": 256, "cuda": 2048}
LAYERS = {"fused": models.Fused, "hook": models.Hooked, "parametrization": models.Parametrized}


class ImageSet(NamedTuple):
    """Normalised images on the device, in the order in which the network reads them."""

    pixels: Tensor  # [image, features], or [image, height, width, channel]
    labels: Tensor

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The images of these indices and their labels."""
        x = self.pixels.index_select(0, index)
        return (x.permute(0, 3, 1, 2) if x.dim() == 4 else x), self.labels.index_select(0, index)


class Crops:
    """Every crop of every image and of its mirror image, without a copy: one indexing operation
    makes an augmented batch."""

    def __init__(self, pixels: Tensor) -> None:
        _, height, width, _ = pixels.shape
        both = torch.cat([pixels, pixels.flip(2)])
        padded = F.pad(both, (0, 0, 4, 4, 4, 4), value=-0.5)  # black, normalised
        windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # [image, 9, 9, channel, h, w]
        self.windows, self.images = windows.permute(0, 1, 2, 4, 5, 3), len(pixels)

    def batch(self, index: Tensor, draws: Tensor) -> Tensor:
        """Augmented images `[batch, channel, height, width]`; `draws` are dy, dx, flip by row."""
        dy, dx, flip = draws.unbind(1)
        return self.windows[index + flip * self.images, dy, dx].permute(0, 3, 1, 2)


def on_device(workload: Workload, device: torch.device) -> tuple[ImageSet, ImageSet]:
    """Training set and test set."""
    train, train_labels, test, test_labels = images.load(workload)

    def ready(pixels: Tensor, labels: Tensor) -> ImageSet:
        floats = pixels.to(device).float().div_(255).sub_(0.5)
        layout = floats.flatten(1) if workload.model == "mlp" else floats.permute(0, 2, 3, 1)
        return ImageSet(layout.contiguous(), labels.to(device))

    return ready(train, train_labels), ready(test, test_labels)


class Trainer:
    """A network with all that a job needs, used for one job after the other."""

    def __init__(self, workload: Workload, data: tuple[ImageSet, ImageSet], args: argparse.Namespace) -> None:
        self.workload, (self.train_set, self.test_set) = workload, data
        self.device = torch.device(args.device)
        self.crops = Crops(self.train_set.pixels) if workload.augment == "crop_flip" else None
        self.layers = LAYERS[args.weight_norm]()
        self.model = models.build(workload, self.layers).to(self.device)
        self.bf16 = workload.precision == "bf16"
        # In fp32 cuDNN's own layout is the faster one without TF32; everything else wants this.
        if self.device.type == "cpu" or self.bf16:
            self.model = self.model.to(memory_format=torch.channels_last)
        fused = {"fused": True} if args.optimizer == "fused" else {"foreach": args.optimizer == "foreach"}
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=workload.lr, momentum=MOMENTUM, **fused)
        self.network = torch.compile(self.model, dynamic=False) if args.compile else self.model
        self.loss_sum = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), dtype=torch.long, device=self.device)
        self.graphs = {} if args.graph and self.device.type == "cuda" else None

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def step(self, index: Tensor, draws: Tensor | None) -> None:
        """Forward, backward, update. Nothing is read back."""
        x, y = self.train_set.batch(index) if draws is None else (
            self.crops.batch(index, draws), self.train_set.labels.index_select(0, index))
        with self.autocast():
            logits = self.network(x)
        loss = F.cross_entropy(logits.float(), y)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss_sum.add_(loss.detach(), alpha=len(index))
        self.correct.add_((logits.detach().argmax(1) == y).sum())

    def graphed_step(self, index: Tensor, draws: Tensor | None) -> None:
        """`step` as a CUDA graph, one for each batch size."""
        if len(index) not in self.graphs:
            own = index.clone(), None if draws is None else draws.clone()
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):  # cuDNN's choices and the momentum buffers come first
                    self.step(*own)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.cuda.graph(graph):
                self.step(*own)
            self.graphs[len(index)] = graph, own
        graph, (own_index, own_draws) = self.graphs[len(index)]
        own_index.copy_(index)
        if draws is not None:
            own_draws.copy_(draws)
        graph.replay()

    @torch.inference_mode()
    def evaluate(self, data: ImageSet, index: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy, left on the device."""
        loss, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for part in index.split(EVAL_BATCH[self.device.type]):
            x, y = data.batch(part)
            with self.autocast():
                logits = self.model(x)
            loss += F.cross_entropy(logits.float(), y, reduction="sum")
            correct += (logits.argmax(1) == y).sum()
        return loss / len(index), correct / len(index)

    def reset(self, seed: int) -> None:
        """The state at the start of a job; tensors stay where a graph knows them."""
        torch.manual_seed(seed)
        models.initialise(self.model, self.layers)
        for state in self.optimizer.state.values():
            if state.get("momentum_buffer") is not None:
                state["momentum_buffer"].zero_()

    def prepare(self) -> None:
        """Compiles the network and captures the graphs that will be needed, before the first job's state is set."""
        train_images = self.workload.split()[0]
        draws = torch.zeros(BATCH, 3, dtype=torch.long, device=self.device) if self.crops else None
        models.initialise(self.model, self.layers)
        step = self.step if self.graphs is None else self.graphed_step
        for size in {min(BATCH, train_images), train_images % BATCH} - {0}:
            index = torch.arange(size, device=self.device)
            step(index, None if draws is None else draws[:size])

    def train(self, seed: int) -> dict:
        """One job, from its seed to a row of results."""
        self.reset(seed)
        train_images, val_images, _ = self.workload.split()
        order = torch.randperm(len(self.train_set.labels), device=self.device)
        val, train = order[:val_images], order[val_images:][:train_images]
        step = self.step if self.graphs is None else self.graphed_step
        best: tuple[Tensor, list[Tensor]] | None = None
        scores = []
        for epoch in range(self.workload.epochs):
            self.loss_sum.zero_(), self.correct.zero_()
            shuffled = train[torch.randperm(train_images, device=self.device)]
            draws = None
            if self.crops:
                draws = torch.randint(9, (train_images, 3), device=self.device)
                draws[:, 2] = torch.randint(2, (train_images,), device=self.device)
            parts = shuffled.split(BATCH)
            for index, draw in zip(parts, draws.split(BATCH) if self.crops else [None] * len(parts)):
                step(index, draw)
            scores.append(self.evaluate(self.train_set, val)[1])
            if epoch + 1 < self.workload.epochs and (best is None or scores[-1] > best[0]):
                best = scores[-1], [p.detach().clone() for p in self.model.parameters()]
        if best is not None and best[0] >= scores[-1]:
            torch._foreach_copy_([p.detach() for p in self.model.parameters()], best[1])
        loss, accuracy = self.evaluate(self.test_set, torch.arange(len(self.test_set.labels), device=self.device))
        row = {"seed": seed, "train_loss": self.loss_sum.item() / train_images,
               "train_acc": self.correct.item() / train_images, "val_acc": max(scores).item(),
               "test_loss": loss.item(), "test_acc": accuracy.item()}
        if not math.isfinite(row["train_loss"]):
            raise SystemExit(f"{self.workload.name}: seed {seed} diverged; the bench wants jobs that do not")
        return row


def work(workload: Workload, data: tuple[ImageSet, ImageSet], args: argparse.Namespace, counter, rows,
         compiling=None, together=None) -> None:
    """A process: takes seeds from the counter until none is left. All compile together, and `compiling` is
    set to the seconds of that."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    trainer = Trainer(workload, data, args)
    begun = time.monotonic()
    if args.compile or trainer.graphs is not None:
        trainer.prepare()
    if args.compile and together is not None:
        together.wait()
        compiling.value = time.monotonic() - begun
    while True:
        with counter.get_lock():
            seed, counter.value = counter.value, counter.value + 1
        if seed >= args.jobs:
            return
        rows.put(trainer.train(seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", choices=ALL)
    parser.add_argument("--jobs", type=int, default=1, help="seeds 0, 1, … are trained")
    parser.add_argument("--variant", choices=VARIANTS, default="timed", help="of the workload")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, help="processes [default: one a core; one on a GPU]")
    parser.add_argument("--weight-norm", choices=LAYERS, default="fused")
    parser.add_argument("--optimizer", choices=["loop", "foreach", "fused"], default="fused")
    parser.add_argument("--compile", action="store_true", help="torch.compile the network")
    parser.add_argument("--no-graph", dest="graph", action="store_false", help="no CUDA graph")
    parser.add_argument("--csv", type=Path, help="write a row for each job")
    args = parser.parse_args()

    models.warm_up()
    started_at = time.time()
    torch.set_num_threads(1)  # before the fork: a thread pool would not survive it
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    workload = ALL[args.workload].variant(args.variant)
    device = torch.device(args.device)
    data = on_device(workload, device)
    context = multiprocessing.get_context("fork")
    counter, queue, compiling = context.Value("l", 0), context.SimpleQueue(), context.Value("d", 0.0)
    if device.type == "cuda":
        work(workload, data, args, counter, queue)
    else:
        processes = min(args.workers or len(os.sched_getaffinity(0)), args.jobs)
        together = context.Barrier(processes)
        workers = [context.Process(target=work, args=(workload, data, args, counter, queue, compiling, together))
                   for _ in range(processes)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if any(worker.exitcode for worker in workers):
            raise SystemExit("a worker failed")
    rows = sorted((queue.get() for _ in range(args.jobs)), key=lambda row: row["seed"])
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    print(json.dumps({"started_at": started_at, "compile_seconds": compiling.value, "rows": rows}))


if __name__ == "__main__":
    main()

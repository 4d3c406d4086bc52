#!/usr/bin/env python3
"""Networks of the authors' code at the settings of the small versions of E4, E7 and E8.

    benches/authors_code.py CLONE --e4 9 --e7 3 --e8 8 > benches/authors_code.csv

CLONE is a clone of the authors' repository, victorcampos7/weightnorm-init (commit d57a84e). Networks,
initializers, training, schedule and power iteration are theirs; the data (Fashion-MNIST) and the loop over
the epochs, as in their train.py, are from here. Seeds count from 0. One thread.
"""

import argparse
import csv
import importlib.machinery
import math
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from images import data_folder, idx

COLUMNS = ["experiment", "depth", "init", "norm", "lr", "seed", "test_acc", "log_spectral_norm", "outcome"]
E4 = [(25, init, 0.003) for init in ["he_datadep", "orthogonal_datadep", "he_proposed", "orthogonal_proposed"]] + [
    (5, "he_datadep", 0.03),
    (5, "orthogonal_datadep", 0.03),
    (5, "he_proposed", 0.1),
    (5, "orthogonal_proposed", 0.03),
]
E7 = [("orthogonal_datadep", "weight", 0.01), ("orthogonal_proposed", "weight", 0.01), ("he", "batch", 0.03)]
E8 = [("orthogonal", None), ("orthogonal_datadep", None), ("orthogonal_hanin", "hanin"), ("orthogonal_proposed", None)]


class Batches:
    """A data loader without workers, and without conversions for each image."""

    def __init__(self, images: Tensor, labels: Tensor, size: int, shuffle: bool) -> None:
        self.images, self.labels, self.size, self.shuffle = images, labels, size, shuffle

    def __len__(self) -> int:
        return -(-len(self.images) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.images)
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for part in order.split(self.size):
            yield self.images[part], self.labels[part]


class FashionMnist:
    def __init__(self) -> None:
        def part(name: str) -> tuple[Tensor, Tensor]:
            path = data_folder() / "fashion-mnist" / name
            images = torch.from_numpy(idx(path.with_name(f"{name}-images-idx3-ubyte")))
            labels = torch.from_numpy(idx(path.with_name(f"{name}-labels-idx1-ubyte")))
            return images.float().unsqueeze(1) / 255, labels.long()

        self.train, self.test = part("train"), part("t10k")

    def split(self, train: int, val: int, batch: int, standardised: bool) -> tuple[Batches, Batches, Batches]:
        images, labels = self.train
        mean, std = (images.mean(), images.std()) if standardised else (0.5, 1.0)
        order = torch.randperm(len(images))
        first, last = order[:train], order[len(images) - val :]
        return (
            Batches((images[first] - mean) / std, labels[first], batch, shuffle=True),
            Batches((images[last] - mean) / std, labels[last], 256, shuffle=False),
            Batches((self.test[0] - mean) / std, self.test[1], 256, shuffle=False),
        )


def import_theirs(clone: Path) -> None:
    if not (clone / "src" / "models" / "nets.py").exists():
        raise SystemExit(f"{clone} is not a clone of the authors' repository: src/models/nets.py is missing")
    sys.path.insert(0, str(clone / "src"))
    progress_bar = types.ModuleType("tqdm")  # their power iteration imports it, for a display
    progress_bar.__spec__ = importlib.machinery.ModuleSpec("tqdm", None)
    progress_bar.tqdm = lambda items, **_: items
    sys.modules["tqdm"] = progress_bar
    warnings.filterwarnings("ignore", category=FutureWarning)  # of their torch.nn.utils.weight_norm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=Path)
    for name in ("e4", "e7", "e8"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="SEEDS", help=f"seeds of {name.upper()}")
    args = parser.parse_args()
    import_theirs(args.clone)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    from models.nets import CNN, WideResNet  # type: ignore[import-not-found]
    from util.graph_def import create_lr_schedule, evaluate_model, train_epoch  # type: ignore[import-not-found]
    from util.hessian import hessian_spectral_norm_approx  # type: ignore[import-not-found]
    from util.misc import set_seed  # type: ignore[import-not-found]

    data = FashionMnist()
    loss_of = nn.CrossEntropyLoss()
    rows = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    rows.writeheader()

    def write(experiment: str, seed: int, init: str, norm: str, **found: object) -> None:
        rows.writerow({"experiment": experiment, "seed": seed, "init": init, "norm": norm} | found)
        sys.stdout.flush()

    def test_accuracy(
        network_of: Callable[[Tensor], nn.Module],
        split: tuple[Batches, Batches, Batches],
        lr: float,
        epochs: int,
        weight_decay: float,
        schedule: int,
    ) -> dict[str, object]:
        """The test accuracy of the best epoch, as their train.py has it."""
        train, val, test = split
        network = network_of(next(iter(train))[0])
        sgd = torch.optim.SGD(network.optimizer_parameters(), lr=lr, weight_decay=weight_decay, momentum=0.9)
        rates = create_lr_schedule(SimpleNamespace(lr_annealing_type=schedule, lr=lr, num_epochs=epochs))
        best, state = -1.0, {}
        try:
            for epoch in range(epochs):
                for group in sgd.param_groups:
                    group["lr"] = rates.value(epoch) * network.get_lr_multiplier(group)
                train_epoch(network, sgd, train, loss_of)
                accuracy = evaluate_model(network, val, loss_of)[1]
                if accuracy > best:
                    best, state = accuracy, {name: value.clone() for name, value in network.state_dict().items()}
        except AssertionError:  # their check of a loss that is NaN
            return {"outcome": "diverged"}
        network.load_state_dict(state)
        return {"outcome": "ok", "test_acc": evaluate_model(network, test)[1]}

    def cnn(depth: int, init: str) -> Callable[[Tensor], nn.Module]:
        return lambda sample: CNN((28, 28, 1), 16, depth, 10, True, init, sample_batch=sample)

    def wrn(init: str, norm: str, extra: str | None) -> Callable[[Tensor], nn.Module]:
        weight = norm == "weight"
        return lambda sample: WideResNet(
            (28, 28, 1), 6, 10, weight, not weight, init, sample, k=1, reduced_memory=True, init_extra_param=extra
        )

    for seed in range(args.e4):
        for depth, init, lr in E4:
            set_seed(seed)
            split = data.split(16_000, 3_000, 32, standardised=True)
            found = test_accuracy(cnn(depth, init), split, lr, 3, 0.0, 0)
            write("E4", seed, init, "weight", depth=depth, lr=lr, **found)
    for seed in range(args.e7):
        for init, norm, lr in E7:
            set_seed(seed)
            split = data.split(2_500, 2_500, 32, standardised=True)
            found = test_accuracy(wrn(init, norm, None), split, lr, 40, 5e-4, 3)
            write("E7", seed, init, norm, lr=lr, **found)
    for seed in range(args.e8):
        for init, extra in E8:
            set_seed(seed)
            train, _, _ = data.split(1_280, 0, 64, standardised=False)
            network = wrn("orthogonal_proposed" if extra else init, "weight", extra)(next(iter(train))[0])
            largest = abs(hessian_spectral_norm_approx(network, train, loss_of, M=40, seed=seed))
            # Theirs adds the Hessians of a tenth of the batches, here 2, and divides by one more.
            write("E8", seed, init, "weight", log_spectral_norm=math.log(largest * 3 / 2), outcome="ok")


if __name__ == "__main__":
    main()

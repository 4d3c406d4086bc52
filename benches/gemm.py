"""How fast plain products are: the yardstick for what a workload's arithmetic could reach.

On the CPU as the workloads run, one process a core with one thread each, all at once; the rate is
the sum. On a GPU one process. A layer takes three products in training (forward, input gradient,
weight gradient); the rate is that of the three in turn. Besides `torch.mm`, which is MKL's product in
fp32 and oneDNN's in bf16, single precision on a CPU has two other libraries.
"""

from __future__ import annotations

import os
import time

import numpy as np
import torch
import torch.multiprocessing as multiprocessing

SQUARE = (1024, 1024, 1024)


def libraries(precision: str, device: str) -> list[str]:
    """The libraries whose products are measured."""
    return ["torch.mm", "oneDNN", "OpenBLAS"] if (precision, device) == ("fp32", "cpu") else ["torch.mm"]


def product(library: str, a: torch.Tensor, b: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """`a @ b`, in `out` but for oneDNN, whose function has none."""
    if library == "torch.mm":
        return torch.mm(a, b, out=out)
    if library == "oneDNN":
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
    np.matmul(a.numpy(), b.numpy(), out=out.numpy())
    return out


def products(shape: tuple[int, int, int], dtype: torch.dtype, device: str, library: str):
    """A function that does a layer's three products, and their operations."""
    m, k, n = shape
    x, w, dy = (torch.randn(size, device=device).to(dtype) for size in ((m, k), (k, n), (m, n)))
    y, dx, dw = torch.empty_like(dy), torch.empty_like(x), torch.empty_like(w)

    def once() -> None:
        product(library, x, w, y)
        product(library, dy, w.t(), dx)
        product(library, x.t(), dy, dw)

    return once, 3 * 2.0 * m * k * n


@torch.inference_mode()
def measure(shape, dtype, device, library, seconds, barrier, rates) -> None:
    """Puts the operations per second of this process."""
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    once, flop = products(shape, dtype, device, library)
    once()
    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    start = time.perf_counter()
    once()
    wait()
    batch = max(1, int(0.02 / (time.perf_counter() - start)))
    if barrier:
        barrier.wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(batch):
            once()
        wait()
        count += batch
    rates.put(flop * count / (time.perf_counter() - start))


def rate(shape: tuple[int, int, int], precision: str, device: str = "cpu", seconds: float = 1.0,
         library: str = "torch.mm") -> float:
    """Operations per second of the whole machine."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    context = multiprocessing.get_context("spawn" if device != "cpu" else "fork")
    rates = context.SimpleQueue()
    count = 1 if device != "cpu" else len(os.sched_getaffinity(0))
    barrier = context.Barrier(count) if count > 1 else None
    processes = [context.Process(target=measure, args=(shape, dtype, device, library, seconds, barrier, rates))
                 for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a product of {shape} in {precision} by {library} failed on {device}")
    return sum(rates.get() for _ in processes)

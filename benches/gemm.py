"""How fast plain `torch.mm` is: the yardstick for what a workload's arithmetic could reach.

On the CPU as the workloads run, one process a core with one thread each, all at once; the rate is
the sum. On a GPU one process. A layer takes three products in training (forward, input gradient,
weight gradient); the rate is that of the three in turn.
"""

from __future__ import annotations

import os
import time

import torch
import torch.multiprocessing as multiprocessing

SQUARE = (1024, 1024, 1024)


def products(shape: tuple[int, int, int], dtype: torch.dtype, device: str):
    """A function that does a layer's three products, and their operations."""
    m, k, n = shape
    x, w, dy = (torch.randn(size, device=device).to(dtype) for size in ((m, k), (k, n), (m, n)))
    y, dx, dw = torch.empty_like(dy), torch.empty_like(x), torch.empty_like(w)

    def once() -> None:
        torch.mm(x, w, out=y)
        torch.mm(dy, w.t(), out=dx)
        torch.mm(x.t(), dy, out=dw)

    return once, 3 * 2.0 * m * k * n


def measure(shape, dtype, device, seconds, barrier, rates) -> None:
    """Puts the operations per second of this process."""
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    once, flop = products(shape, dtype, device)
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


def rate(shape: tuple[int, int, int], precision: str, device: str = "cpu", seconds: float = 1.0) -> float:
    """Operations per second of the whole machine."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    context = multiprocessing.get_context("spawn" if device != "cpu" else "fork")
    rates = context.SimpleQueue()
    count = 1 if device != "cpu" else len(os.sched_getaffinity(0))
    barrier = context.Barrier(count) if count > 1 else None
    processes = [context.Process(target=measure, args=(shape, dtype, device, seconds, barrier, rates))
                 for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode:
            raise RuntimeError(f"a product of {shape} in {precision} failed on {device}")
    return sum(rates.get() for _ in processes)

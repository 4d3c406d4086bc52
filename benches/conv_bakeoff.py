"""Which way to convolve a cohort: one grouped convolution, a dense one for each member (one after
the other, or each on its own CUDA stream), or im2col and a batched product.

For every 3×3 convolution of the GPU workloads it times forward, input gradient and weight gradient
together, as separate launches and, on a GPU, captured as one CUDA graph, which is how training
runs them. Each way is checked against the dense one before it is timed; one that runs out of
memory or cannot be captured says so in its row.

    python conv_bakeoff.py --device cuda --out DIR        bakeoff.csv and bakeoff.md
    python conv_bakeoff.py --device cpu --quick --out DIR

Each row is written when it is timed; rows that are in DIR/bakeoff.csv are not timed again.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Set
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from workloads import BATCH


class Case(NamedTuple):
    """`members` convolutions of `maps` to `maps` channels on `size`×`size` pixels."""

    network: str
    members: int
    maps: int
    size: int
    precision: str = "fp32"
    batch: int = BATCH


CASES = [
    *(Case("ResNet-56", 16, maps, size) for maps, size in ((16, 32), (32, 16), (64, 8))),
    *(Case("ResNet-56", 16, maps, size, "bf16") for maps, size in ((16, 32), (32, 16), (64, 8))),
    *(Case("WRN-1000-1", 8, maps, size) for maps, size in ((16, 16), (32, 8), (64, 4))),
    *(Case("WRN-40-10", 2, maps, size, "bf16") for maps, size in ((160, 32), (320, 16), (640, 8))),
]
QUICK = [Case("quick", 3, 8, 8, batch=4), Case("quick", 3, 8, 8, "bf16", batch=4)]

Pass = Callable[[], tuple[Tensor, Tensor, Tensor]]


def backward(x: Tensor, w: Tensor, dy: Tensor, groups: int = 1) -> tuple[Tensor, Tensor]:
    """Input and weight gradients of a 3×3 convolution padded by 1."""
    mask = [True, True, False]
    return torch.ops.aten.convolution_backward(dy, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], groups, mask)[:2]


def dense(x: Tensor, w: Tensor, dy: Tensor) -> Pass:
    """One convolution a member. `x`, `dy`: [member, batch, c, h, w]; `w`: [member, out, in, 3, 3]."""
    parts = list(zip(x.unbind(), w.unbind(), dy.unbind()))

    def run() -> tuple[Tensor, Tensor, Tensor]:
        done = [(F.conv2d(xm, wm, padding=1), *backward(xm, wm, dym)) for xm, wm, dym in parts]
        return tuple(list(column) for column in zip(*done))

    return run


def streams(x: Tensor, w: Tensor, dy: Tensor) -> Pass:
    """As `dense`, each member on a stream of its own (eight at most)."""
    parts = list(zip(x.unbind(), w.unbind(), dy.unbind()))
    pool = [torch.cuda.Stream() for _ in range(min(8, len(parts)))]

    def run() -> tuple[Tensor, Tensor, Tensor]:
        here, done = torch.cuda.current_stream(), []
        for stream in pool:
            stream.wait_stream(here)
        for m, (xm, wm, dym) in enumerate(parts):
            with torch.cuda.stream(pool[m % len(pool)]):
                done.append((F.conv2d(xm, wm, padding=1), *backward(xm, wm, dym)))
        for stream in pool:
            here.wait_stream(stream)
        return tuple(list(column) for column in zip(*done))

    return run


def grouped(x: Tensor, w: Tensor, dy: Tensor) -> Pass:
    """One convolution with a group for each member. Laying the members beside each other is not
    timed: a network that computes this way keeps them so."""
    members, batch = x.shape[:2]
    side_by_side = [t.transpose(0, 1).flatten(1, 2) for t in (x, dy)]
    layout = torch.channels_last if x[0].is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    xs, dys = (t.contiguous(memory_format=layout) for t in side_by_side)
    ws = w.flatten(0, 1).contiguous(memory_format=layout)

    def apart(t: Tensor) -> list[Tensor]:
        return list(t.unflatten(1, (members, -1)).transpose(0, 1).unbind())

    def run() -> tuple[Tensor, Tensor, Tensor]:
        y = F.conv2d(xs, ws, padding=1, groups=members)
        dx, dw = backward(xs, ws, dys, members)
        return apart(y), apart(dx), list(dw.unflatten(0, (members, -1)).unbind())

    return run


def im2col(x: Tensor, w: Tensor, dy: Tensor) -> Pass:
    """A batched product over [member, batch, c·9, pixel]; the columns are made anew in the
    backward pass, as keeping them would take nine times the activations."""
    members, batch, maps, height, width = x.shape
    flat_x = x.flatten(0, 1)
    flat_w = w.flatten(2)  # [member, out, in·9]
    size = (height, width)

    def columns() -> Tensor:  # [member, in·9, batch·pixel]
        unfolded = F.unfold(flat_x, 3, padding=1).unflatten(0, (members, batch))
        return unfolded.transpose(1, 2).flatten(2)

    def run() -> tuple[Tensor, Tensor, Tensor]:
        y = torch.bmm(flat_w, columns()).unflatten(2, (batch, *size)).transpose(1, 2)
        dys = dy.transpose(1, 2).flatten(2)  # [member, out, batch·pixel]
        dw = torch.bmm(dys, columns().transpose(1, 2)).view_as(w)
        dcolumns = torch.bmm(flat_w.transpose(1, 2), dys).unflatten(2, (batch, -1)).transpose(1, 2)
        dx = F.fold(dcolumns.flatten(0, 1), size, 3, padding=1).unflatten(0, (members, batch))
        return list(y.unbind()), list(dx.unbind()), list(dw.unbind())

    return run


WAYS = {"dense": dense, "streams": streams, "grouped": grouped, "im2col+bmm": im2col}


def inputs(case: Case, layout: str, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """x, w and dy of a case; `layout` is nchw or nhwc."""
    generator = torch.Generator().manual_seed(0)
    dtype = torch.bfloat16 if case.precision == "bf16" else torch.float32
    image = (case.members, case.batch, case.maps, case.size, case.size)
    kernel = (case.members, case.maps, case.maps, 3, 3)

    def make(shape: tuple[int, ...], scale: float) -> Tensor:
        t = (torch.randn(shape, generator=generator) * scale).to(device, dtype)
        # NHWC within each member, so that a member alone is channels-last.
        return t.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3) if layout == "nhwc" else t

    return make(image, 1.0), make(kernel, (case.maps * 9) ** -0.5), make(image, 1.0)


def captured(run: Pass) -> Callable[[], None]:
    """The pass as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = run()  # its tensors live in the graph's memory

    def replay(kept=kept) -> None:
        graph.replay()

    return replay


def seconds(run: Callable[[], object], device: str, budget: float) -> float:
    """Median seconds of one pass, over at least five samples."""
    wait = torch.cuda.synchronize if device != "cpu" else lambda: None
    run()
    wait()
    start = time.perf_counter()
    run()
    wait()
    each = time.perf_counter() - start
    repeat = max(1, int(budget / 5 / max(each, 1e-7)))
    samples = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(repeat):
            run()
        wait()
        samples.append((time.perf_counter() - start) / repeat)
    return statistics.median(samples)


def error(ours, reference) -> float:
    """The largest difference of any output, relative to that output's largest value."""
    return max(((a.float() - b.float()).abs().max() / b.float().abs().max()).item()
               for column, wanted in zip(ours, reference) for a, b in zip(column, wanted))


def key(row: dict) -> tuple[str, ...]:
    """What is timed in a row."""
    return tuple(str(row[name]) for name in (*Case._fields, "way", "layout", "launch"))


def rows(case: Case, device: str, budget: float, done: Set[tuple[str, ...]] = frozenset(), pretend: bool = False):
    """A row for each way, layout and launch that is not done. `pretend`: values are not checked."""
    flop = 3 * 2.0 * case.members * case.batch * case.size**2 * case.maps**2 * 9
    reference = None
    for name, way in WAYS.items():
        if name == "streams" and device == "cpu":
            continue
        for layout in ("nchw", "nhwc"):
            if name == "im2col+bmm" and layout == "nhwc":
                continue  # unfold reads nchw
            for launch in ("eager", "graph") if device != "cpu" else ("eager",):
                row = {**case._asdict(), "way": name, "layout": layout, "launch": launch,
                       "milliseconds": "", "tflops": "", "note": ""}
                if key(row) in done:
                    continue
                try:
                    reference = reference or dense(*(t.float() for t in inputs(case, "nchw", device)))()
                    run = way(*inputs(case, layout, device))
                    off = error(run(), reference)
                    if not (pretend or off <= (0.02 if case.precision == "bf16" else 1e-3)):  # not of NaN
                        raise RuntimeError(f"off by {off:.1e}")
                    time_of = seconds(captured(run) if launch == "graph" else run, device, budget)
                    row |= {"milliseconds": f"{time_of * 1e3:.4f}", "tflops": f"{flop / time_of / 1e12:.3f}"}
                except RuntimeError as problem:
                    row["note"] = str(problem).strip().splitlines()[0][:120]
                yield row


def markdown(all_rows: list[dict]) -> str:
    """For each case its ways, the fastest first."""
    lines = ["| network | members | channels | pixels | precision | fastest | ms | TFLOP/s | the others, ms |",
             "|---|--:|--:|--:|---|---|--:|--:|---|"]
    cases: dict[tuple, list[dict]] = {}
    for row in all_rows:
        cases.setdefault(tuple(row[key] for key in ("network", "members", "maps", "size", "precision")), []).append(row)
    label = lambda row: f"{row['way']} {row['layout']} {row['launch']}"  # noqa: E731
    for (network, members, maps, size, precision), found in cases.items():
        timed = sorted((row for row in found if row["milliseconds"]), key=lambda row: float(row["milliseconds"]))
        if timed:
            others = ", ".join(f"{label(row)} {float(row['milliseconds']):.3f}" for row in timed[1:])
            best = timed[0]
            lines.append(f"| {network} | {members} | {maps} | {size}×{size} | {precision} | **{label(best)}** | "
                         f"{float(best['milliseconds']):.3f} | {best['tflops']} | {others} |")
    failed = [f"- {row['network']} {row['maps']} {row['precision']} {label(row)}: {row['note']}" for row in all_rows if row["note"]]
    return "\n".join([*lines, *(["", "Not timed:", *failed] if failed else []), ""])


def read(path: Path) -> list[dict]:
    """The rows of an earlier call."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(found: list[dict], out: Path) -> None:
    """Table and rows, each file whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, found[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    for name, content in (("bakeoff.md", markdown(found)), ("bakeoff.csv", text.getvalue())):
        part = out / f".{name}.part"
        part.write_text(content)
        part.replace(out / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="two tiny shapes: tests the way, measures nothing")
    parser.add_argument("--pretend", action="store_true", help="do not check values: the GPU is a pretend one")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    args.out.mkdir(parents=True, exist_ok=True)
    found = read(args.out / "bakeoff.csv")
    print(f"{len(found)} rows are there already", flush=True)
    with torch.no_grad():
        for case in QUICK if args.quick else CASES:
            for row in rows(case, args.device, 0.01 if args.quick else 0.2, {key(row) for row in found}, args.pretend):
                found.append(row)
                write(found, args.out)
                print(*key(row), row["milliseconds"], row["note"], flush=True)
                if row["note"]:  # what a failed capture leaves behind would spoil the next rows
                    os.execv(sys.executable, [sys.executable, *sys.argv])
            torch.cuda.empty_cache() if args.device == "cuda" else None
    print(markdown(found))


if __name__ == "__main__":
    main()

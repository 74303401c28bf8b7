"""Timing of two ways in turn, so that a busy moment of the machine hits both."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from reprolib.run.distributed import ReadOnly
from reprolib.run.store import Checkpoint

Row = dict[str, str]
Way = tuple[Callable[[], object], int]
"""A way to do something, and how many units of it are one call."""


def row(step: str, plain: Way, ours: Way, repetitions: int, unit: str, target: float, check: str) -> Row:
    """Time both ways in turn, after one call of each that does not count: medians with the range of all repetitions.

    target: how many times faster ours has to be. check: how the numbers of both were compared.
    """
    ways = plain, ours
    for call, _ in ways:
        call()
    pairs = [[once(call) / units for call, units in ways] for _ in range(repetitions)]
    theirs, here = (list(seconds) for seconds in zip(*pairs, strict=True))
    return {
        "step": step,
        "straightforward": _shown(theirs, unit),
        "here": _shown(here, unit),
        "times faster": spread([a / b for a, b in pairs], ".1f"),
        "at least": f"{target:g}",
        "n": str(repetitions),
        "same numbers": check,
    }


def _shown(seconds: list[float], unit: str) -> str:
    middle = statistics.median(seconds)
    scale, name = (1, "s") if middle >= 1 else (1e3, "ms") if middle >= 1e-3 else (1e6, "µs")
    low, high = min(seconds) * scale, max(seconds) * scale
    return f"{middle * scale:.3g} {name} per {unit} ({low:.3g} to {high:.3g})"


def once(call: Callable[[], object]) -> float:
    """Seconds of a call, with all that it leaves to a GPU."""
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def nowhere() -> Checkpoint:
    """Saves nothing."""
    return ReadOnly(Path(tempfile.mkdtemp()) / "checkpoint")


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products and convolutions in a call."""
    counts: Any = {torch.ops.aten.convolution_backward: _backward_flops}
    with FlopCounterMode(display=False, custom_mapping=counts) as counted:
        call()
    return int(counted.get_total_flops())


def _backward_flops(grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any) -> int:
    """Of the backward pass of a convolution, from shapes: as many as forward for each of the two gradients that are
    wanted. torch's own count forgets groups, and a depthwise convolution would count a hundredfold."""
    transposed, wanted = rest[4], rest[7]
    return 2 * math.prod(x if transposed else grad) * math.prod(weight[1:]) * (bool(wanted[0]) + bool(wanted[1]))


def spread(values: list[float], form: str) -> str:
    """``median (smallest to largest)``."""
    middle, low, high = (format(value, form) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def matmul_rate(size: int = 2048, device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations per second of a large matrix product, the best of five: what all is compared with."""
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    a @ b
    return 2 * size**3 / min(once(lambda: a @ b) for _ in range(5))

"""Timing of two ways in turn, so that a busy moment of the machine hits both."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass
class Row:
    """One step, timed both ways."""

    step: str
    plain: list[float]
    """Seconds per unit, one entry per repetition."""
    ours: list[float]
    unit: str
    target: float
    """How many times faster it has to be."""
    check: str
    """How the numbers of both ways were compared."""

    def cells(self) -> dict[str, str]:
        """The row of the table: medians with the range of all repetitions."""
        times = [p / o for p, o in zip(self.plain, self.ours, strict=True)]
        return {
            "step": self.step,
            "straightforward": _shown(self.plain, self.unit),
            "here": _shown(self.ours, self.unit),
            "times faster": f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})",
            "at least": f"{self.target:g}",
            "n": str(len(times)),
            "same numbers": self.check,
        }


def _shown(seconds: list[float], unit: str) -> str:
    middle = statistics.median(seconds)
    scale, name = (1, "s") if middle >= 1 else (1e3, "ms") if middle >= 1e-3 else (1e6, "µs")
    low, high = min(seconds) * scale, max(seconds) * scale
    return f"{middle * scale:.3g} {name} per {unit} ({low:.3g} to {high:.3g})"


def alternate(
    plain: Callable[[], object], ours: Callable[[], object], plain_units: int, our_units: int, repetitions: int
) -> tuple[list[float], list[float]]:
    """Seconds per unit of both ways, in turn, after one call of each that does not count."""
    plain(), ours()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repetitions):
        for kept, call, units in zip(seconds, (plain, ours), (plain_units, our_units), strict=True):
            kept.append(once(call) / units)
    return seconds


def once(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


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


def matmul_rate(size: int = 2048, repetitions: int = 5) -> float:
    """Floating-point operations per second of a large matrix product: the limit that everything is compared with."""
    a, b = torch.randn(2, size, size)
    a @ b
    return 2 * size**3 / min(once(lambda: a @ b) for _ in range(repetitions))

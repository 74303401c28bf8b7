"""Where a part of ``benchmarks gpu`` runs: rows, clocks, and how fast a work is."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import carry, gpu, timing
from benchmarks import side_by_side as sides
from benchmarks.timing import nowhere
from benchmarks.works import Work, settings
from reprolib.run import rules
from reprolib.vocabulary import VARIANTS


class Bench:
    """Where a part runs, until when, and the rows it writes."""

    def __init__(self, part: str, device: str, seconds: float, out: Path) -> None:
        self.part, self.device, self.out, self.end = part, device, out, time.monotonic() + seconds
        self.full = device == "cuda"
        self.digits, self.textures = carry.digits()[: None if self.full else 640], carry.textures()

    def row(self, what: str, value: float | str = "", unit: str = "", outcome: str = "ok") -> None:
        shown = value if isinstance(value, str) else f"{value:.4g}"
        gpu.append(self.out, dict(zip(gpu.COLUMNS, (self.part, what, shown, unit, outcome), strict=True)))

    def judged(self, what: str, found: float, bound: float, unit: str) -> None:
        self.row(what, found, f"{unit}, at most {bound:g}", "ok" if found <= bound else "failed: too far apart")

    @contextmanager
    def tried(self, what: str) -> Iterator[None]:
        """What fails in here is a row, and the part goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            said = str(error).splitlines()
            self.row(what, outcome=f"failed: {type(error).__name__}: {said[0] if said else ''}")

    def memory(self, what: str) -> None:
        """A row with the most memory of the GPU that was in use since the last one."""
        if self.full:
            self.row(f"{what}, memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
            torch.cuda.reset_peak_memory_stats()

    def digits_of(self, variant: str) -> Any:
        return self.digits if VARIANTS[variant].held_out == "test_file" else self.digits[:50_000]

    def together(self, variant: str, count: int) -> sides.SideBySide:
        seeds, how = list(rules.seeds(count)), settings(self.device, 1)
        return sides.SideBySide(variant, seeds, how, self.digits_of(variant), self.textures)


def matmul_rate(b: Bench, arithmetic: str) -> float:
    torch.backends.cuda.matmul.allow_tf32 = arithmetic == "TensorFloat-32"
    dtype = torch.bfloat16 if arithmetic == "bfloat16" else torch.float32
    rate = timing.matmul_rate(8192 if b.full else 256, b.device, dtype)
    torch.backends.cuda.matmul.allow_tf32 = False
    return rate


def speed(b: Bench, works: dict[str, Work]) -> None:
    """Images per second of every work, its memory, and its share of the card's rate."""
    rate = matmul_rate(b, "TensorFloat-32")
    for what, work in works.items():
        with b.tried(what):
            each = _seconds_per_step(b, work)
            b.row(what, work.images / each, "images/s")
            b.memory(what)
            if b.full:
                one, two = (timing.flops(partial(work.run, b.device, n, nowhere())) for n in (1, 2))
                b.row(f"{what}, share of the rate of TensorFloat-32", 100 * (two - one) / each / rate, "%")


def scenes_works(b: Bench) -> dict[str, Work]:
    """What its packages do not let run must not stop the MNIST half."""
    with b.tried("Scenes"):
        from benchmarks import natural_works

        return natural_works.scenes_works(b)
    return {}


def _seconds_per_step(b: Bench, work: Work) -> float:
    """From two lengths, so that what comes before the first step does not count."""
    if not b.full:
        return timing.once(lambda: work.run(b.device, 1, nowhere()))
    few, many = work.lengths
    work.run(b.device, few, nowhere())
    short, long = (timing.once(partial(work.run, b.device, n, nowhere())) for n in (few, many))
    return (long - short) / (many - few)


def vector(state: dict[str, Tensor]) -> Tensor:
    """All weights of a state, or all that was made, as one."""
    return torch.cat([value.detach().cpu().double().flatten() for value in state.values() if value.is_floating_point()])

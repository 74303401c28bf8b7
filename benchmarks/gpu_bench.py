"""What a part of ``benchmarks gpu`` asks of works: how fast are they, have they the numbers of a processor, and has a
resumed one the bits of an unbroken one? Each answer is a row."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from benchmarks import carry, gpu, timing
from benchmarks import side_by_side as sides
from benchmarks.timing import nowhere
from benchmarks.works import RECIPES, VARIANT, Work, mnist_works, settings
from reprolib.run import rules, training
from reprolib.run.store import Checkpoint
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


class SameDraws(TorchFunctionMode):
    """Draws every random number on the processor, so that two devices see the same ones."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function in (torch.rand, torch.randn, torch.randint):
            device = kwargs.pop("device", "cpu")
            return function(*args, **kwargs).to(device)
        if function in (torch.randn_like, torch.randint_like):
            return function(args[0].cpu(), *args[1:], **kwargs).to(args[0].device)
        if function is F.dropout:
            x, p, training = args[0], *(*args[1:], *kwargs.values())[:2]
            return x * (torch.rand(x.shape) >= p).to(x) / (1 - p) if training else x
        return function(*args, **kwargs)


def same(b: Bench) -> None:
    """MNIST and Scenes, after the first step and after ten."""
    compare(b, mnist_works(b) | scenes_works(b), 10 if b.full else 2)


def compare(b: Bench, works: dict[str, Work], last: int) -> None:
    """The numbers of the processor, from the same random numbers, in full float32 and as torch is set, with
    TensorFloat-32 in convolutions. What is trained: distance in what all its steps move it; else in the mean size."""
    for what, work in works.items():
        if work.bounds is not None:
            with b.tried(what), SameDraws():
                _compare(b, what, work, work.bounds, (1, last) if work.trains else (1,))


def _compare(b: Bench, what: str, work: Work, bounds: tuple[float, float], steps: tuple[int, ...]) -> None:
    here = [vector(work.run("cpu", n, nowhere())) for n in steps]
    scale = float((here[-1] - here[0] if work.trains else here[0]).abs().mean())
    for exact in (True, False) if b.full else (True,):
        torch.backends.cudnn.allow_tf32 = not exact
        how = "float32" if exact else "as torch is set"
        for n, ours, bound in zip(steps, here, bounds, strict=False):
            apart = float((ours - vector(work.run(b.device, n, nowhere()))).abs().mean())
            allowed = bound if exact else max(bound, min(10 * bound, 0.1))
            b.judged(f"{what}, {how}, step {n}", apart / scale, allowed, "of the scale")


RESUMED = (
    *(f"CGN, {recipe}, {how}" for recipe in RECIPES for how in (VARIANT, "bfloat16")),
    "DCGAN",
    "classifiers, 1 together",
    "classifiers, 2 together",
    "CGN, Scenes",
    "ensemble, Scenes",
)


def resume(b: Bench) -> None:
    """Has a run that was killed, or stopped, and went on the bits of an unbroken one? As it is, and with torch's
    deterministic algorithms."""
    steps, every = 20 if b.full else 2, mnist_works(b) | scenes_works(b)
    works = {what: every[what] for what in RESUMED if what in every}
    for recipe in RECIPES:
        with b.tried(what := f"CGN, {recipe}, {VARIANT}"):
            whole = vector(works[what].run(b.device, steps, nowhere()))
            _equal_bits(b, f"{what}, killed and resumed", works[what], steps, whole, _killed(b, what, steps))
    for strict in (False, True) if b.full else (True,):
        torch.use_deterministic_algorithms(strict, warn_only=True)
        how = "deterministic algorithms" if strict else "as it is"
        for what, work in works.items():
            with b.tried(f"{what}, {how}"):
                whole = _equal_bits(b, f"{what}, {how}, two unbroken runs", work, steps, None)
                _equal_bits(b, f"{what}, {how}, stopped and resumed", work, steps, whole, _stopped(b, work, steps))
        speed(b, {f"CGN, {VARIANT}, {how}": works[f"CGN, published, {VARIANT}"]})


def _equal_bits(
    b: Bench, what: str, work: Work, steps: int, whole: Tensor | None, checkpoint: Checkpoint | None = None
) -> Tensor:
    """Compare a run, from a checkpoint if there is one, with another, or with a second one from nothing."""
    found = vector(work.run(b.device, steps, checkpoint or nowhere()))
    whole = vector(work.run(b.device, steps, nowhere())) if whole is None else whole
    b.judged(what, float((whole - found).abs().max()), 0, "apart")
    return whole


def _stopped(b: Bench, work: Work, steps: int) -> Checkpoint:
    """The checkpoint of a run that was stopped halfway, as a signal stops it."""
    checkpoint, calls = Checkpoint(Path(tempfile.mkdtemp()) / "checkpoint"), itertools.count(1)
    usual = training._deferred_signals
    training._deferred_signals = lambda: nullcontext(lambda: next(calls) == steps // 2)  # type: ignore
    try:
        with suppress(KeyboardInterrupt):
            work.run(b.device, steps, checkpoint)
    finally:
        training._deferred_signals = usual
    assert checkpoint.file.exists(), "the run was not stopped"
    return checkpoint


class _Deadly(Checkpoint):
    """Its process is killed right after it has saved for the first time."""

    def save(self, state: dict[str, Any]) -> None:
        super().save(state)
        os.kill(os.getpid(), signal.SIGKILL)


def _killed(b: Bench, what: str, steps: int) -> Checkpoint:
    """The checkpoint of a run in a process that was killed halfway."""
    file = Path(tempfile.mkdtemp()) / "checkpoint"
    arguments = b, what, steps, file, torch.get_num_threads()
    process = multiprocessing.get_context("spawn").Process(target=_to_be_killed, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the process ended with {process.exitcode}"
    return Checkpoint(file)


def _to_be_killed(b: Bench, what: str, steps: int, file: Path, threads: int) -> None:
    torch.set_num_threads(threads)
    carry.replace_networks()
    mnist_works(b)[what].run(b.device, steps, _Deadly(file))

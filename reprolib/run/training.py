"""The one training loop: steps with checkpoints, bit-identical resume, signals, progress, and a stop at NaN."""

from __future__ import annotations

import copy
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import torch
from torch import Tensor

from reprolib.run import ReproError
from reprolib.run.store import Checkpoint

torch.backends.cudnn.deterministic = True  # on a GPU; else the gradients of convolutions are added up in any order
CHECK_EVERY = 50
"""Steps between two looks at the losses: reading them stops the device."""


# ---------------------------------------------------------------- progress


def duration(seconds: float) -> str:
    """``42 s``, ``3 min 5 s`` or ``2 h 10 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Progress:
    """Print one line at most every ``every`` seconds, and nothing for work that is shorter than that.

    ``REPROLIB_PROGRESS=off`` silences it, for tests that compare what a notebook prints.
    """

    def __init__(self, title: str, total: int, unit: str = "steps", done: int = 0, every: float = 10.0) -> None:
        self.title, self.total, self.unit, self.every = title, total, unit, every
        self.first, self.start = done, time.monotonic()
        self.last = self.start

    def update(self, done: int, note: str = "") -> None:
        """Say that ``done`` of ``total`` are done; ``note`` is shown behind the line."""
        now = time.monotonic()
        if now - self.last < self.every or os.environ.get("REPROLIB_PROGRESS") == "off":
            return
        self.last = now
        rate = (done - self.first) / (now - self.start)
        left = duration((self.total - done) / rate) if rate > 0 else "unknown time"
        speed = f"{rate:,.1f} {self.unit}/s" if rate >= 0.5 else f"{duration(1 / rate) if rate else '?'} each"
        line = f"{self.title}: {done:,} of {self.total:,} {self.unit}, {speed}, {left} left"
        # The real stderr: in a notebook it reaches both the terminal and the cell, once each, as the workers' does.
        print(f"{line}{'; ' + note if note else ''}", file=sys.__stderr__ or sys.stderr, flush=True)


# ---------------------------------------------------------------- training


class Stateful(Protocol):
    """A module, an optimiser, or anything else whose state can be saved and restored."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


class DivergedError(ReproError):
    """A loss is no longer finite."""


class Memory:
    """A Stateful for plain values that belong to a run, such as its history: ``memory.values`` is a dict."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def state_dict(self) -> dict[str, Any]:
        return self.values

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        self.values = state_dict


def run(
    title: str,
    steps: int,
    step: Callable[[int], dict[str, Tensor]],
    states: dict[str, Stateful],
    checkpoint: Checkpoint,
    every: int,
    whole_every: int = 1,
) -> None:
    """Call ``step(i)`` for i = 0..steps-1, from the last checkpoint on if there is one.

    A step returns its losses (scalars), draws its randomness from a key that holds i, and keeps all that it needs in
    ``states``: then an interrupted run ends with the same bits as an unbroken one. A checkpoint is written every
    ``every`` steps and on SIGINT or SIGTERM. Raises DivergedError at the first non-finite loss that is looked at, or
    if the last update left what gives one: ``step(steps)`` is called too, and taken back.

    whole_every: in between, a part of the state lies in other processes, and nothing is saved.
    """
    every = -(-every // whole_every) * whole_every
    saved = checkpoint.load() or {"done": 0, "states": {}}
    _put_back(states, saved["states"])
    first = int(saved["done"])
    progress = Progress(title, steps, done=first)
    with _deferred_signals() as stop_requested:
        for i in range(first, steps):
            losses = step(i)
            done, stop = i + 1, stop_requested()  # asked once: a signal from here on is for the next step
            save = (done % every == 0 and done < steps) or (stop and done % whole_every == 0)
            if save or done % CHECK_EVERY == 0 or done == steps:  # a state is saved only after a look at its losses
                progress.update(done, _describe(title, done, losses, checkpoint))
            if save:
                checkpoint.save({"done": done, "states": _finite(title, states, checkpoint, done)})
            if stop:
                raise KeyboardInterrupt(f"{title} stopped after step {done}; run the same command to go on")
    before = copy.deepcopy(_finite(title, states, checkpoint, steps))
    _describe(title, steps, step(steps), checkpoint)
    _put_back(states, before)


def _describe(title: str, done: int, losses: dict[str, Tensor], checkpoint: Checkpoint) -> str:
    values = {name: float(loss.detach()) for name, loss in losses.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise diverged(title, done, ", ".join(f"{name} {value}" for name, value in values.items()), checkpoint)
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items())


def diverged(title: str, done: int, seen: str, checkpoint: Checkpoint) -> DivergedError:
    """The error of a training in whose state after so many steps something is not finite, and what to do."""
    good = f"the last good state is {checkpoint.file}" if checkpoint.file.exists() else "no state was saved"
    return DivergedError(
        f"{title} diverged at step {done} ({seen}); {good}; try another seed or a smaller learning rate"
    )


def _finite(title: str, states: dict[str, Stateful], checkpoint: Checkpoint, done: int) -> dict[str, Any]:
    """The states, all of whose numbers are finite: an update can spoil what its losses were still good for."""
    now = {name: state.state_dict() for name, state in states.items()}
    for name, state in now.items():
        if not all(bool(torch.isfinite(tensor).all()) for tensor in _tensors(state)):
            raise diverged(title, done, f"{name} is not finite", checkpoint)
    return now


def _tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, dict | list):
        for part in state.values() if isinstance(state, dict) else state:
            yield from _tensors(part)


def _put_back(states: dict[str, Stateful], saved: dict[str, Any]) -> None:
    for name, state in saved.items():
        states[name].load_state_dict(state)


@contextmanager
def _deferred_signals() -> Iterator[Callable[[], bool]]:
    """Hold SIGINT and SIGTERM back until the step is over; elsewhere than in the main thread do nothing."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    former = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)

"""Data-parallel training under torchrun: every process does a share of each step, and gradients are summed.

Plain torch.distributed: process 0 reads and writes the store, the others compute along. A training on N processes is
the training on one, up to the order of sums and to the turns of spectral norms, which follow process 0. A result has
the same name either way, and says how many made it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from reprolib.run.store import Checkpoint, Result, Store


@contextmanager
def processes(device: str) -> Iterator[None]:
    """Join the processes that torchrun has started; alone, do nothing. device: ``cpu`` or ``cuda``, one GPU each."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # A process may wait for another that evaluates or reads data for long; torchrun ends all when one has died.
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=timedelta(days=1))
    if rank():
        os.environ["REPROLIB_PROGRESS"] = "off"
    try:
        yield
    finally:
        distributed.destroy_process_group()


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this one, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def part(numbers: list[int]) -> list[int]:
    """This process's part of a batch; where it would be empty the first image, which then weighs nothing."""
    return numbers[rank() :: size()] or numbers[:1]


def weight(count: int) -> float:
    """What the mean over this process's part of a batch of ``count`` images weighs: the weighted means add up to that
    of the batch. 1 for a process alone."""
    return len(range(rank(), count, size())) / count


def add_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its sum over all processes; one that is missing counts as 0."""
    if size() == 1:
        return
    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)


def same_buffers(module: torch.nn.Module) -> None:
    """Give every process the buffers of process 0: spectral norms turn by the micro-batches that each one sees."""
    if size() > 1:
        for buffer in module.buffers():
            distributed.broadcast(buffer, 0)


def wait() -> None:
    """Until all processes are here."""
    if size() > 1:
        distributed.barrier()


def _agreed(value: bool) -> bool:
    """What process 0 says."""
    said = torch.tensor([int(value)], device="cuda" if distributed.get_backend() == "nccl" else "cpu")
    distributed.broadcast(said, 0)
    return bool(said.item())


class ReadOnly(Checkpoint):
    """Reads what another process has saved, and saves nothing."""

    def save(self, state: dict[str, Any]) -> None:
        pass

    def remove(self) -> None:
        pass


class SharedStore(Store):
    """The store of several processes that make every result together, and then read what process 0 has stored."""

    def get(
        self,
        step: str,
        inputs: dict[str, Any],
        make: Callable[[Checkpoint], Result],
        version: int = 1,
        with_tensors: bool = False,
    ) -> Result:
        if size() == 1:
            return super().get(step, inputs, make, version, with_tensors)
        file = self.file(step, inputs, version)
        if rank() == 0:
            making = []

            def told(checkpoint: Checkpoint) -> Result:
                making.append(_agreed(True))
                return make(checkpoint)

            super().get(step, inputs, told, version, with_tensors)  # another run may make it while this one waits
            if not making:
                _agreed(False)
        elif _agreed(False):
            make(ReadOnly(file.with_suffix(".checkpoint")))
        distributed.barrier()
        return super().get(step, inputs, make, version, with_tensors)

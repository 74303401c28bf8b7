"""CGN trainings by the published recipe, taken out of their loop: the steps of several as one CUDA graph."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from reprolib.mnist import train, variants
from reprolib.mnist.digits import Digits
from reprolib.mnist.train import Pair, Step
from reprolib.run import rng


@contextmanager
def _held() -> Iterator[list[tuple[Any, Step]]]:
    """In here a training hands over its networks and its step instead of running."""
    held: list[tuple[Any, Step]] = []
    usual = Pair.train
    Pair.train = lambda pair, update, *_, **__: held.append((pair, update)) or {}  # type: ignore
    try:
        yield held
    finally:
        Pair.train = usual  # type: ignore[method-assign]


def training(
    variant: str, seed: int, settings: Any, digits: Digits, textures: Any, train_cgn: Any = train.train_cgn
) -> tuple[Any, Step]:
    """(networks and optimisers, step) of a CGN training that has not begun; train_cgn: of which recipe."""
    unused: Any = None
    with _held() as held:
        train_cgn(variant, digits, seed, settings, textures, unused)
    return held[0]


class SideBySide:
    """CGNs of several seeds, trained at once: on a GPU a step of all is one CUDA graph with a branch for each.

    Batches are those of ``train.batches``, cut from whole epochs that lie on the device; a single seed also has the
    random numbers of ``train_cgn``.
    """

    def __init__(self, variant: str, seeds: list[int], settings: Any, digits: Digits, textures: Any) -> None:
        self.variant, self.seeds, self.digits, self.textures = variant, seeds, digits, textures
        self.device, self.batch, self.epoch = settings.device, settings.batch, -1
        self.trainings = [training(variant, seed, settings, digits, textures) for seed in seeds]
        self.images = torch.zeros(len(seeds), self.batch, 3, 32, 32, device=self.device)
        self.labels = torch.zeros(len(seeds), self.batch, dtype=torch.long, device=self.device)
        self.streams = [torch.cuda.Stream() for _ in seeds] if self.device == "cuda" else []
        self.graph = self._captured() if self.streams else None

    def run(self, first: int, steps: int) -> None:
        """Steps first..first+steps-1 of every seed."""
        for i in range(first, first + steps):
            epoch, position = divmod(i, len(self.digits) // self.batch)
            if epoch != self.epoch:
                self._load(epoch)
            index = self.order[:, position * self.batch : (position + 1) * self.batch].flatten()
            torch.index_select(self.epoch_images, 0, index, out=self.images.flatten(0, 1))
            torch.index_select(self.epoch_labels, 0, index, out=self.labels.flatten(0, 1))
            with rng.seeded("cgn step", self.variant, *self.seeds, i):
                self._step() if self.graph is None else self.graph.replay()

    def states(self) -> list[dict[str, Tensor]]:
        """The state of every CGN, on the CPU."""
        return [{n: v.detach().cpu() for n, v in p.generator.state_dict().items()} for p, _ in self.trainings]

    def _load(self, epoch: int) -> None:
        redrawn = 0 if self.variant == "colored_MNIST" else epoch
        how: dict[str, Any] = {"attributes": "label", "epoch": redrawn, "textures": self.textures}
        painted = variants.paint(self.variant, self.digits, "train", **how)
        orders = [rng.permutation(len(self.digits), "epoch order", seed, epoch) for seed in self.seeds]
        self.epoch_images, self.epoch_labels = painted.images.to(self.device), painted.labels.to(self.device)
        self.order, self.epoch = torch.stack(orders).to(self.device), epoch

    def _step(self) -> None:
        for stream in self.streams:
            stream.wait_stream(torch.cuda.current_stream())
        for k, (_, update) in enumerate(self.trainings):
            with torch.cuda.stream(self.streams[k]) if self.streams else nullcontext():
                update(0, self.images[k], self.labels[k])  # every step of the published recipe is the same
        for stream in self.streams:
            torch.cuda.current_stream().wait_stream(stream)

    def _captured(self) -> torch.cuda.CUDAGraph:
        """One step of all, recorded; before that a few that are undone, because first steps make what stays."""
        pairs = [pair for pair, _ in self.trainings]
        modules = [module for pair in pairs for module in (pair.generator, pair.discriminator)]
        optimisers = [optimiser for pair in pairs for optimiser in pair.optimisers]
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["capturable"] = True
        before = [copy.deepcopy(module.state_dict()) for module in modules]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._step()
        torch.cuda.synchronize()
        for module, state in zip(modules, before, strict=True):
            module.load_state_dict(state)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
            for value in (value for state in optimiser.state.values() for value in state.values()):
                value.zero_()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=aside):
            self._step()
        return graph

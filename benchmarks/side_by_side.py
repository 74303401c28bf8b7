"""CGN trainings taken out of ``reprolib.mnist.train``, to run their steps otherwise: several as one CUDA graph."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from reprolib import rng
from reprolib.mnist import train, variants
from reprolib.mnist.cgn import CLASSES
from reprolib.mnist.digits import Digits
from reprolib.mnist.textures import Textures


@contextmanager
def _held() -> Iterator[list[tuple[Any, train.Step]]]:
    """In here a training hands over its networks and its step instead of running."""
    held: list[tuple[Any, train.Step]] = []
    usual = train._Pair.train
    train._Pair.train = lambda pair, update, *_, **__: held.append((pair, update)) or {}  # type: ignore
    try:
        yield held
    finally:
        train._Pair.train = usual  # type: ignore[method-assign]


def training(variant: str, seed: int, settings: Any, digits: Digits, textures: Any) -> tuple[Any, train.Step]:
    """(networks and optimisers, step) of a CGN training that has not begun."""
    unused: Any = None
    with _held() as held:
        train.train_cgn(variant, digits, seed, settings, textures, unused)
    return held[0]


class SideBySide:
    """The steps of several trainings at once: on a GPU one CUDA graph with a branch for each, else one by one.

    ``images`` (K, B, 3, 32, 32) and ``labels`` (K, B) hold the batches of the next ``step``.
    """

    def __init__(self, trainings: list[tuple[Any, Any]], batch: int, device: str) -> None:
        self.trainings, self.device, self.graph = trainings, device, None
        self.images = torch.zeros(len(trainings), batch, 3, 32, 32, device=device)
        self.labels = torch.zeros(len(trainings), batch, dtype=torch.long, device=device)
        if device == "cuda":
            self.streams = [torch.cuda.Stream() for _ in trainings]
            self._capture()

    def step(self, key: rng.Key) -> None:
        """One update of every training, with randomness named by the key."""
        with rng.seeded(*key):
            self._all() if self.graph is None else self.graph.replay()

    def states(self) -> list[dict[str, Tensor]]:
        """The state of every CGN, on the CPU."""
        return [{n: v.detach().cpu() for n, v in p.generator.state_dict().items()} for p, _ in self.trainings]

    def _all(self) -> None:
        here = torch.cuda.current_stream() if self.device == "cuda" else None
        for k, (_, update) in enumerate(self.trainings):
            if here is not None:
                self.streams[k].wait_stream(here)
            with nullcontext() if here is None else torch.cuda.stream(self.streams[k]):
                drawn = torch.randint(0, CLASSES, self.labels[k].shape, device=self.device)
                update(self.images[k], self.labels[k], drawn)
        for stream in self.streams if here is not None else ():
            here.wait_stream(stream)

    def _capture(self) -> None:
        """Warm up, put everything back, and record one step of all."""
        pairs = [pair for pair, _ in self.trainings]
        optimisers = [optimiser for pair in pairs for optimiser in pair.optimisers]
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["capturable"] = True
        modules = [module for pair in pairs for module in (pair.generator, pair.discriminator)]
        before = [copy.deepcopy(module.state_dict()) for module in modules]
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._all()
        torch.cuda.synchronize()
        with torch.no_grad():
            for module, state in zip(modules, before, strict=True):
                module.load_state_dict(state)
            for value in (v for some in optimisers for state in some.state.values() for v in state.values()):
                value.zero_()
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=aside):
            self._all()


def epochs(variant: str, digits: Digits, textures: Textures) -> Callable[[int], variants.Painted]:
    """epoch -> all images of it, as ``train.batches`` would paint them; one epoch is kept."""
    painted: dict[int, variants.Painted] = {}

    def of_epoch(epoch: int) -> variants.Painted:
        redrawn = 0 if variant == "colored_MNIST" else epoch
        if redrawn not in painted:
            painted.clear()
            painted[redrawn] = variants.paint(
                variant, digits, "train", attributes="label", epoch=redrawn, textures=textures
            )
        return painted[redrawn]

    return of_epoch


def run(
    together: SideBySide, seeds: list[int], variant: str, digits: Digits, textures: Textures, first: int, steps: int
) -> None:
    """Steps first..first+steps-1 of every seed, on the batches that ``train.batches`` gives it."""
    batch = together.images.shape[1]
    per_epoch, of_epoch, shown = len(digits) // batch, epochs(variant, digits, textures), -1
    for i in range(first, first + steps):
        epoch, position = divmod(i, per_epoch)
        if epoch != shown:
            painted, shown = of_epoch(epoch), epoch
            images, labels = painted.images.to(together.device), painted.labels.to(together.device)
            order = torch.stack([rng.permutation(len(digits), "epoch order", seed, epoch) for seed in seeds])
            order = order.to(together.device)
        index = order[:, position * batch : (position + 1) * batch].flatten()
        torch.index_select(images, 0, index, out=together.images.flatten(0, 1))
        torch.index_select(labels, 0, index, out=together.labels.flatten(0, 1))
        together.step(("cgn step", variant, *seeds, i))

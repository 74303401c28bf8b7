"""What the trainings of generative models share: settings, snapshots, and a generator with its discriminator.

All randomness of step i comes from the key (seed, i), so that a resumed run ends with the bits of an unbroken one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel

from reprolib import features, losses
from reprolib.mnist.variants import Painted
from reprolib.run import rng, training
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import Ingredient

BETAS = (0.5, 0.999)
SNAPSHOTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of a run after which the generator is kept: sample sheets and quality over training are made from these."""


@dataclass(frozen=True)
class GenerativeSettings:
    """How long and with what a generative model trains; the rest is fixed per variant in ``settings.VARIANTS``.

    Batch and edge loss are those of the published recipe; the stable one has its own.
    """

    steps: int
    """Batches."""
    batch: int = 16
    features: features.Name = "vgg16"
    edge_weight: float = 0.0
    """lambda of the edge loss of Bagad et al., 0 for the published model."""
    edge_form: losses.EdgeForm = "paper"
    without: tuple[Ingredient, ...] = ()
    """Ingredients of the stable recipe that are left out."""
    checkpoint_every: int = 1000
    device: str = "cpu"
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the networks compute in while training; weights and losses are float32."""
    compiled: bool = False
    """Whether torch compiles the networks, on a GPU into CUDA graphs."""

    def arithmetic(self) -> dict[str, Any]:
        """What of this changes the numbers of a run slightly, for the name of a result; empty as published."""
        chosen = {"precision": self.precision, "compiled": self.compiled}
        return {name: value for name, value in chosen.items() if value not in ("float32", False)}

    def autocast(self) -> torch.autocast:
        """The context in which a network's forward pass belongs."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bfloat16")


def snapshot_steps(steps: int) -> list[int]:
    """The steps after which a run of this length keeps its generator; the last one is the end."""
    return sorted({max(1, round(share * steps)) for share in SNAPSHOTS})


Losses = dict[str, Tensor]
Step = Callable[[int, Tensor, Tensor], Losses]
"""(number of the step, real images, their labels) -> losses, after both networks were updated."""
Schedule = Callable[[float], float]
"""Share of the run that is done, in [0, 1) -> factor on the learning rates."""


class Pair:
    """A generator, its discriminator and their optimisers."""

    def __init__(
        self,
        kind: str,
        generator: nn.Module,
        discriminator: nn.Module,
        settings: GenerativeSettings,
        rates: tuple[float, float],
    ) -> None:
        """rates: learning rates of generator and discriminator."""
        self.kind, self.settings = kind, settings
        self.generator = generator.to(settings.device).train()
        self.discriminator = discriminator.to(settings.device).train()
        self.rates = rates
        self.optimisers = [
            Adam(model.parameters(), rate, BETAS, fused=True)
            for model, rate in zip((generator, discriminator), rates, strict=True)
        ]
        if settings.compiled:
            for network in (self.generator, self.discriminator):
                network.compile(mode="reduce-overhead")

    def score(self, images: Tensor, labels: Tensor) -> Tensor:
        """The discriminator's scores, float32 (B,)."""
        with self.settings.autocast():
            return self.discriminator(images, labels).float()

    def frozen_score(self, images: Tensor, labels: Tensor) -> Tensor:
        """Score images without gradients for the discriminator's weights; the generator step needs none."""
        self.discriminator.requires_grad_(False)
        score = self.score(images, labels)
        self.discriminator.requires_grad_(True)
        return score

    def train(
        self,
        update: Step,
        title: str,
        key: tuple[str, int],
        batch_of: Callable[[int], Painted],
        checkpoint: Checkpoint,
        schedule: Schedule = lambda done: 1.0,
        mean: AveragedModel | None = None,
    ) -> dict[int, dict[str, Tensor]]:
        """Run ``update`` on every batch; step -> generator state on the CPU for each of ``snapshot_steps``.

        key: variant and seed. mean: follows the generator, and is kept instead.
        """
        settings = self.settings
        (variant, seed), device = key, torch.device(settings.device)
        kept, keep_at = training.Memory(), snapshot_steps(settings.steps)
        result: nn.Module = self.generator if mean is None else mean.module

        def step(i: int) -> Losses:
            for optimiser, rate in zip(self.optimisers, self.rates, strict=True):
                optimiser.param_groups[0]["lr"] = rate * schedule(i / settings.steps)
            real = batch_of(i)
            with rng.seeded(f"{self.kind} step", variant, seed, i):
                terms = update(i, real.images.to(device), real.labels.to(device))
            if mean is not None:
                mean.update_parameters(self.generator)
            if i + 1 in keep_at:
                kept.values[str(i + 1)] = {n: value.detach().cpu().clone() for n, value in result.state_dict().items()}
            return terms

        states: dict[str, training.Stateful] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator optimiser": self.optimisers[0],
            "discriminator optimiser": self.optimisers[1],
            "snapshots": kept,
        }
        training.run(
            title,
            settings.steps,
            step,
            states if mean is None else states | {"mean": mean},
            checkpoint,
            settings.checkpoint_every,
        )
        return {int(i): state for i, state in kept.values.items()}


def descend(optimiser: Adam, loss: Tensor) -> None:
    """One update; the gradients of before are forgotten."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def style_loss(net: features.FeatureNet, generated: Tensor, real: Tensor, settings: GenerativeSettings) -> Tensor:
    """The style loss of generated against real images, (B, 3, 32, 32); the target side needs no gradient."""
    with settings.autocast():
        with torch.no_grad():
            target = net(real)
        taps = net(generated)
    return losses.style(taps, target, net.weights)

"""Training of generative models: what all share, the CGN by the published recipe, the DCGAN of Bagad et al. (2022).

Both follow docs/mnist.md, sections 5, 6 and 8. One step is: draw labels, generate, update the generator, then update
the discriminator on the same images. All randomness of step i comes from the key (seed, i).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel

from reprolib import features, losses
from reprolib.mnist import cgn as cgn_model
from reprolib.mnist import variants
from reprolib.mnist.digits import Digits
from reprolib.mnist.gan import DCGAN, LinearDiscriminator
from reprolib.mnist.textures import Textures
from reprolib.mnist.variants import Painted
from reprolib.run import rng, training
from reprolib.run.store import Checkpoint
from reprolib.schema import ASIDE, CgnParams
from reprolib.vocabulary import VARIANTS, Ingredient

PUBLISHED = CgnParams()
LEARNING_RATE = 2e-4
EPOCHS = 15
RATES = (LEARNING_RATE, LEARNING_RATE)
BETAS = (0.5, 0.999)
SNAPSHOTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of a run after which the generator is kept: sample sheets and quality over training are made from these."""


@dataclass(frozen=True)
class GenerativeSettings:
    """How long and with what a generative model trains; the rest is fixed per variant in ``VARIANTS``.

    Batch and edge loss are those of the published recipe; the stable one has its own.
    """

    steps: int
    """Batches."""
    batch: int = PUBLISHED.batch
    features: features.Name = PUBLISHED.features
    edge_weight: float = PUBLISHED.edge_weight
    """lambda of the edge loss of Bagad et al., 0 for the published model."""
    edge_form: losses.EdgeForm = PUBLISHED.edge_form
    without: tuple[Ingredient, ...] = ()
    """Ingredients of the stable recipe that are left out."""
    checkpoint_every: int = field(default=PUBLISHED.checkpoint_every, metadata=ASIDE)
    device: str = field(default="cpu", metadata=ASIDE)
    """Named in the recipe of a result by ``Machine``."""
    precision: Literal["float32", "bfloat16"] = PUBLISHED.precision
    """What the networks compute in while training; weights and losses are float32."""
    compiled: bool = PUBLISHED.compiled
    """Whether torch compiles the networks, on a GPU into CUDA graphs."""

    def autocast(self) -> torch.autocast:
        """The context in which a network's forward pass belongs."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bfloat16")


def snapshot_steps(steps: int) -> list[int]:
    """The steps after which a run of this length keeps its generator; the last one is the end."""
    return sorted({max(1, round(share * steps)) for share in SNAPSHOTS})


Losses = dict[str, Tensor]
Step = Callable[[int, Tensor, Tensor], Losses]
"""(number of the step, real images, their labels) -> losses, after both networks were updated."""


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

    def update(
        self,
        terms: Losses,
        generated: Tensor,
        drawn: Tensor,
        real: Tensor,
        labels: Tensor,
        criterion: Callable[[Tensor, float], Tensor] = losses.lsgan,
        seen: Callable[[Tensor], Tensor] = lambda images: images,
    ) -> Losses:
        """Update the generator by these and the adversarial term, then the discriminator on the same images; all terms.

        drawn, labels: of generated and real images. criterion: of score and target. seen: what the discriminator sees.
        """
        self.discriminator.requires_grad_(False)  # the generator's update needs no gradients of its weights
        terms = terms | {"adversarial": criterion(self.score(seen(generated), drawn), 1.0)}
        self.discriminator.requires_grad_(True)
        _descend(self.optimisers[0], torch.stack(list(terms.values())).sum())
        real_loss = criterion(self.score(seen(real), labels), 1.0)
        fake_loss = criterion(self.score(seen(generated.detach()), drawn), 0.0)
        terms["discriminator"] = (real_loss + fake_loss) / 2
        _descend(self.optimisers[1], terms["discriminator"])
        return terms

    def train(
        self,
        step_of: Step,
        title: str,
        key: tuple[str, int],
        batch_of: Callable[[int], Painted],
        checkpoint: Checkpoint,
        schedule: Callable[[float], float] = lambda done: 1.0,
        mean: AveragedModel | None = None,
    ) -> dict[int, dict[str, Tensor]]:
        """Run ``step_of`` on every batch; step -> generator state on the CPU for each of ``snapshot_steps``.

        key: variant and seed. schedule: share of the run that is done, in [0, 1) -> factor on the learning rates. mean:
        follows the generator, and is kept instead.
        """
        settings, (variant, seed) = self.settings, key
        kept, keep_at = training.Memory(), snapshot_steps(settings.steps)
        result: nn.Module = self.generator if mean is None else mean.module

        def step(i: int) -> Losses:
            for optimiser in self.optimisers:
                optimiser.param_groups[0]["lr"] = optimiser.defaults["lr"] * schedule(i / settings.steps)
            real = batch_of(i)
            with rng.seeded(f"{self.kind} step", variant, seed, i):
                terms = step_of(i, real.images.to(settings.device), real.labels.to(settings.device))
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
        if mean is not None:
            states["mean"] = mean
        training.run(title, settings.steps, step, states, checkpoint, settings.checkpoint_every)
        return {int(i): state for i, state in kept.values.items()}


def _descend(optimiser: Adam, loss: Tensor) -> None:
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


def published_steps(digits: int, batch: int = 16) -> int:
    """15 epochs: 56,250 steps for Colored MNIST, 46,875 for the others."""
    return digits // batch * EPOCHS


def fixed_settings(variant: str) -> dict[str, Any]:
    """The settings of a variant that its CGN depends on, for the name of a result."""
    names = ("discriminator", "initialisation", "gain", "mask_weight", "style_weights")
    return {name: getattr(VARIANTS[variant], name) for name in names}


def batches(variant: str, digits: Digits, batch: int, seed: int, textures: Textures) -> Callable[[int], Painted]:
    """step -> the batch of that step; every epoch has a new order, fresh jitter and fresh crops."""
    per_epoch, order = len(digits) // batch, lru_cache(maxsize=1)(rng.permutation)

    def of_step(step: int) -> Painted:
        epoch, position = divmod(step, per_epoch)
        index = order(len(digits), "epoch order", seed, epoch)[position * batch : (position + 1) * batch]
        # The colours of Colored MNIST are fixed in the published file; only the other two are redrawn.
        redrawn = 0 if variant == "colored_MNIST" else epoch
        return variants.paint(
            variant, digits, "train", attributes="label", epoch=redrawn, index=index, textures=textures
        )

    return of_step


def train_cgn(
    variant: str, digits: Digits, seed: int, settings: GenerativeSettings, textures: Textures, checkpoint: Checkpoint
) -> dict[int, dict[str, Tensor]]:
    """Train a CGN on a variant: step -> generator state, for each of ``snapshot_steps``."""
    fixed = VARIANTS[variant]
    with rng.seeded("cgn initialisation", variant, seed):
        generator, discriminator = cgn_model.build(fixed)
    net = features.load(settings.features, fixed.style_weights).to(settings.device)
    pair = Pair("cgn", generator, discriminator, settings, RATES)

    def step(i: int, images: Tensor, labels: Tensor) -> Losses:
        drawn = torch.randint_like(labels, cgn_model.CLASSES)
        with settings.autocast():
            maps = cgn_model.Mechanisms(*(each.float() for each in generator(drawn)))
        generated = cgn_model.compose(*maps)
        terms = {
            "mask": fixed.mask_weight * losses.binary_entropy(maps.mask),
            "style": style_loss(net, generated, images, settings),
        }
        if settings.edge_weight > 0:
            terms["edge"] = settings.edge_weight * losses.edge(maps.mask, settings.edge_form)
        return pair.update(terms, generated, drawn, images, labels)

    batch_of = batches(variant, digits, settings.batch, seed, textures)
    return pair.train(step, f"CGN on {fixed.title}, seed {seed}", (variant, seed), batch_of, checkpoint)


def train_dcgan(
    variant: str, digits: Digits, seed: int, settings: GenerativeSettings, textures: Textures, checkpoint: Checkpoint
) -> DCGAN:
    """The conditional DCGAN of Bagad et al. on a variant, in eval mode on the CPU: binary cross entropy on scores."""
    with rng.seeded("dcgan initialisation", variant, seed):
        generator, discriminator = DCGAN(), LinearDiscriminator()
    pair = Pair("dcgan", generator, discriminator, settings, RATES)

    def cross_entropy(score: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))

    def step(i: int, images: Tensor, labels: Tensor) -> Losses:
        drawn = torch.randint_like(labels, cgn_model.CLASSES)
        with settings.autocast():
            generated = generator(drawn).float()
        return pair.update({}, generated, drawn, images, labels, cross_entropy)

    title = f"DCGAN on {VARIANTS[variant].title}, seed {seed}"
    batch_of = batches(variant, digits, settings.batch, seed, textures)
    pair.train(step, title, (variant, seed), batch_of, checkpoint)
    return generator.cpu().eval()

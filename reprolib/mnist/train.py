"""Training of the generative models: the CGN, and the DCGAN that Bagad et al. (2022) compare it with.

Both follow spec/mnist.md, sections 5, 6 and 8. One step is: draw labels, generate, update the generator, then update
the discriminator on the same images. All randomness of step i comes from the key (seed, i), so that a resumed run
ends with the bits of an unbroken one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from reprolib import features, losses, rng, training
from reprolib.mnist import cgn as cgn_model
from reprolib.mnist import dcgan as dcgan_model
from reprolib.mnist import variants
from reprolib.mnist.digits import Digits
from reprolib.mnist.settings import VARIANTS
from reprolib.mnist.textures import Textures
from reprolib.mnist.variants import Painted
from reprolib.store import Checkpoint

LEARNING_RATE, BETAS = 2e-4, (0.5, 0.999)
EPOCHS = 15
SNAPSHOTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of a run after which the generator is kept: sample sheets and quality over training are made from these."""


@dataclass(frozen=True)
class GenerativeSettings:
    """How long and with what a generative model trains; the rest is fixed per variant in ``settings.VARIANTS``."""

    steps: int
    """Batches; the paper's 15 epochs are ``published_steps``."""
    batch: int = 16
    features: features.Name = "vgg16"
    edge_weight: float = 0.0
    """lambda of the edge loss of Bagad et al., 0 for the published model."""
    edge_form: losses.EdgeForm = "paper"
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


def published_steps(digits: int, batch: int = 16) -> int:
    """15 epochs: 56,250 steps for Colored MNIST, 46,875 for the others."""
    return digits // batch * EPOCHS


def snapshot_steps(steps: int) -> list[int]:
    """The steps after which a run of this length keeps its generator; the last one is the end."""
    return sorted({max(1, round(share * steps)) for share in SNAPSHOTS})


def fixed_settings(variant: str) -> dict[str, Any]:
    """The settings of a variant that its CGN depends on, for the name of a result."""
    names = ("discriminator", "initialisation", "gain", "mask_weight", "style_weights")
    return {name: getattr(VARIANTS[variant], name) for name in names}


def batches(variant: str, digits: Digits, batch: int, seed: int, textures: Textures) -> Callable[[int], Painted]:
    """step -> the batch of that step; every epoch has a new order, fresh jitter and fresh crops."""
    per_epoch = len(digits) // batch
    order: dict[int, Tensor] = {}

    def of_step(step: int) -> Painted:
        epoch, position = divmod(step, per_epoch)
        if epoch not in order:
            order.clear()
            order[epoch] = rng.permutation(len(digits), "epoch order", seed, epoch)
        index = order[epoch][position * batch : (position + 1) * batch]
        # The colours of Colored MNIST are fixed in the published file; only the other two are redrawn.
        redrawn = 0 if variant == "colored_MNIST" else epoch
        return variants.paint(
            variant, digits, "train", attributes="label", epoch=redrawn, index=index, textures=textures
        )

    return of_step


Losses = dict[str, Tensor]
Step = Callable[[Tensor, Tensor, Tensor], Losses]
"""(real images, their labels, labels to generate) -> losses, after both networks were updated."""


def train_cgn(
    variant: str, digits: Digits, seed: int, settings: GenerativeSettings, textures: Textures, checkpoint: Checkpoint
) -> dict[int, dict[str, Tensor]]:
    """Train a CGN on a variant: step -> generator state, for each of ``snapshot_steps``.

    Raises DivergedError when a loss stops being finite.
    """
    fixed = VARIANTS[variant]
    with rng.seeded("cgn initialisation", variant, seed):
        generator, discriminator = cgn_model.build(fixed)
    net = features.load(settings.features, fixed.style_weights).to(settings.device)
    pair = _Pair("cgn", generator, discriminator, settings)

    def step(images: Tensor, labels: Tensor, drawn: Tensor) -> Losses:
        with settings.autocast():
            parts = cgn_model.Mechanisms(*(part.float() for part in generator(drawn)))
        generated = cgn_model.compose(*parts)
        terms = _generator_losses(parts.mask, generated, images, net, fixed.mask_weight, settings)
        terms["adversarial"] = losses.lsgan(pair.frozen_score(generated, drawn), 1.0)
        _descend(pair.optimisers[0], torch.stack(list(terms.values())).sum())
        real_loss = losses.lsgan(pair.score(images, labels), 1.0)
        fake_loss = losses.lsgan(pair.score(generated.detach(), drawn), 0.0)
        terms["discriminator"] = (real_loss + fake_loss) / 2
        _descend(pair.optimisers[1], terms["discriminator"])
        return terms

    return pair.train(step, f"CGN on {fixed.title}, seed {seed}", (variant, seed), digits, textures, checkpoint)


def _generator_losses(
    mask: Tensor,
    generated: Tensor,
    real: Tensor,
    net: features.FeatureNet,
    mask_weight: float,
    settings: GenerativeSettings,
) -> Losses:
    """The weighted loss terms of the CGN besides the adversarial one; the target side needs no gradient."""
    with settings.autocast():
        with torch.no_grad():
            target = net(real)
        taps = net(generated)
    terms = {
        "mask": mask_weight * losses.binary_entropy(mask),
        "style": losses.style(taps, target, net.weights),
    }
    if settings.edge_weight > 0:
        terms["edge"] = settings.edge_weight * losses.edge(mask, settings.edge_form)
    return terms


def train_dcgan(
    variant: str, digits: Digits, seed: int, settings: GenerativeSettings, textures: Textures, checkpoint: Checkpoint
) -> dcgan_model.DCGAN:
    """The conditional DCGAN of Bagad et al. on a variant, in eval mode on the CPU: binary cross entropy on scores."""
    with rng.seeded("dcgan initialisation", variant, seed):
        generator, discriminator = dcgan_model.DCGAN(), cgn_model.LinearDiscriminator()
    pair = _Pair("dcgan", generator, discriminator, settings)

    def step(images: Tensor, labels: Tensor, drawn: Tensor) -> Losses:
        with settings.autocast():
            generated = generator(drawn).float()
        adversarial = _cross_entropy(pair.frozen_score(generated, drawn), 1.0)
        _descend(pair.optimisers[0], adversarial)
        real_loss = _cross_entropy(pair.score(images, labels), 1.0)
        fake_loss = _cross_entropy(pair.score(generated.detach(), drawn), 0.0)
        _descend(pair.optimisers[1], (real_loss + fake_loss) / 2)
        return {"adversarial": adversarial, "discriminator": (real_loss + fake_loss) / 2}

    title = f"DCGAN on {VARIANTS[variant].title}, seed {seed}"
    pair.train(step, title, (variant, seed), digits, textures, checkpoint)
    return generator.cpu().eval()


class _Pair:
    """Generator, discriminator and their optimisers: what the two models share in training."""

    def __init__(
        self,
        kind: str,
        generator: nn.Module,
        discriminator: nn.Module,
        settings: GenerativeSettings,
    ) -> None:
        self.kind, self.settings = kind, settings
        self.generator = generator.to(settings.device).train()
        self.discriminator = discriminator.to(settings.device).train()
        self.optimisers = [
            Adam(model.parameters(), LEARNING_RATE, BETAS, fused=True) for model in (generator, discriminator)
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
        self, update: Step, title: str, key: tuple[str, int], digits: Digits, textures: Textures, checkpoint: Checkpoint
    ) -> dict[int, dict[str, Tensor]]:
        """Run ``update`` on every batch; step -> generator state on the CPU for each of ``snapshot_steps``."""
        settings = self.settings
        (variant, seed), device = key, torch.device(settings.device)
        batch_of = batches(variant, digits, settings.batch, seed, textures)
        kept, keep_at = training.Memory(), snapshot_steps(settings.steps)

        def step(i: int) -> Losses:
            real = batch_of(i)
            with rng.seeded(f"{self.kind} step", variant, seed, i):
                drawn = torch.randint(0, cgn_model.CLASSES, (len(real),), device=device)
                terms = update(real.images.to(device), real.labels.to(device), drawn)
            if i + 1 in keep_at:
                state = self.generator.state_dict()
                kept.values[str(i + 1)] = {name: value.detach().cpu().clone() for name, value in state.items()}
            return terms

        states: dict[str, training.Stateful] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator optimiser": self.optimisers[0],
            "discriminator optimiser": self.optimisers[1],
            "snapshots": kept,
        }
        training.run(title, settings.steps, step, states, checkpoint, settings.checkpoint_every)
        return {int(i): state for i, state in kept.values.items()}


def _cross_entropy(score: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))


def _descend(optimiser: Adam, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()

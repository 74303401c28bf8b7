"""Training of the generative models: the CGN by the published recipe, and the DCGAN of Bagad et al. (2022).

Both follow docs/mnist.md, sections 5, 6 and 8. One step is: draw labels, generate, update the generator, then update
the discriminator on the same images. All randomness of step i comes from the key (seed, i), so that a resumed run
ends with the bits of an unbroken one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reprolib import features, losses
from reprolib.mnist import cgn as cgn_model
from reprolib.mnist import variants
from reprolib.mnist.adversarial import GenerativeSettings, Losses, Pair, descend, style_loss
from reprolib.mnist.digits import Digits
from reprolib.mnist.gan import DCGAN, LinearDiscriminator
from reprolib.mnist.textures import Textures
from reprolib.mnist.variants import Painted
from reprolib.run import rng
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import VARIANTS

LEARNING_RATE = 2e-4
EPOCHS = 15
RATES = (LEARNING_RATE, LEARNING_RATE)


def published_steps(digits: int, batch: int = 16) -> int:
    """15 epochs: 56,250 steps for Colored MNIST, 46,875 for the others."""
    return digits // batch * EPOCHS


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
    pair = Pair("cgn", generator, discriminator, settings, RATES)

    def step(i: int, images: Tensor, labels: Tensor) -> Losses:
        drawn = torch.randint_like(labels, cgn_model.CLASSES)
        with settings.autocast():
            parts = cgn_model.Mechanisms(*(part.float() for part in generator(drawn)))
        generated = cgn_model.compose(*parts)
        terms = _generator_losses(parts.mask, generated, images, net, fixed.mask_weight, settings)
        terms["adversarial"] = losses.lsgan(pair.frozen_score(generated, drawn), 1.0)
        descend(pair.optimisers[0], torch.stack(list(terms.values())).sum())
        real_loss = losses.lsgan(pair.score(images, labels), 1.0)
        fake_loss = losses.lsgan(pair.score(generated.detach(), drawn), 0.0)
        terms["discriminator"] = (real_loss + fake_loss) / 2
        descend(pair.optimisers[1], terms["discriminator"])
        return terms

    batch_of = batches(variant, digits, settings.batch, seed, textures)
    return pair.train(step, f"CGN on {fixed.title}, seed {seed}", (variant, seed), batch_of, checkpoint)


def _generator_losses(
    mask: Tensor,
    generated: Tensor,
    real: Tensor,
    net: features.FeatureNet,
    mask_weight: float,
    settings: GenerativeSettings,
) -> Losses:
    """The weighted loss terms of the CGN besides the adversarial one."""
    terms = {
        "mask": mask_weight * losses.binary_entropy(mask),
        "style": style_loss(net, generated, real, settings),
    }
    if settings.edge_weight > 0:
        terms["edge"] = settings.edge_weight * losses.edge(mask, settings.edge_form)
    return terms


def train_dcgan(
    variant: str, digits: Digits, seed: int, settings: GenerativeSettings, textures: Textures, checkpoint: Checkpoint
) -> DCGAN:
    """The conditional DCGAN of Bagad et al. on a variant, in eval mode on the CPU: binary cross entropy on scores."""
    with rng.seeded("dcgan initialisation", variant, seed):
        generator, discriminator = DCGAN(), LinearDiscriminator()
    pair = Pair("dcgan", generator, discriminator, settings, RATES)

    def step(i: int, images: Tensor, labels: Tensor) -> Losses:
        drawn = torch.randint_like(labels, cgn_model.CLASSES)
        with settings.autocast():
            generated = generator(drawn).float()
        adversarial = _cross_entropy(pair.frozen_score(generated, drawn), 1.0)
        descend(pair.optimisers[0], adversarial)
        real_loss = _cross_entropy(pair.score(images, labels), 1.0)
        fake_loss = _cross_entropy(pair.score(generated.detach(), drawn), 0.0)
        descend(pair.optimisers[1], (real_loss + fake_loss) / 2)
        return {"adversarial": adversarial, "discriminator": (real_loss + fake_loss) / 2}

    title = f"DCGAN on {VARIANTS[variant].title}, seed {seed}"
    batch_of = batches(variant, digits, settings.batch, seed, textures)
    pair.train(step, title, (variant, seed), batch_of, checkpoint)
    return generator.cpu().eval()


def _cross_entropy(score: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(score, torch.full_like(score, target))

"""The stable recipe: how a CGN is trained here so that it comes out well every time, in minutes.

The CGN is the published one and generates by the same function; only its training differs. The published recipe loses
single classes: an inverted mask, a shape that never comes, colours that drift while a grey mask makes up for them. Each
ingredient has a name, by which a run can leave it out (``GenerativeSettings.without``):

- ``start``: the last norm of each texture mechanism starts at the colours of the data.
- ``edge``: the edge loss of Bagad et al. (2022), in the form of their code.
- ``balance``: a batch holds each digit twice, so no label is unlucky and batch norms see the same mixture always.
- ``labels``: the labels to generate are those of the real batch, so the style loss compares images of one class.
- ``colours``: mean and spread of each texture map are held to those of the ground (the border) and the object (what
  differs from the ground in the centre) of the real images of that label, as distributions.
- ``critic``: a strided projection discriminator (Miyato & Koyama, 2018) with spectral norm; else the published one.
- ``pack``: it judges two images of one label at once (PacGAN; Lin et al., 2018), so repetition is found out.
- ``contrast``: it sees a copy with normalised channels too, where a pair of like colours shows its shape as clearly.
- ``noise``: it sees both sides through noise that fades out, but grows while it tells them apart too well: so it never
  wins the game, and no detail gives a generated image away.
- ``clamp``: a clamped pixel of the mask still hears a gradient that would bring it back.
- ``rise``: the weight of the mask's entropy rises, which makes of a grey or dithered shape a solid one.
- ``fall``: the learning rates fall linearly over the second half.
- ``mean``: the exponential mean of weights and statistics is kept.

Besides, the style loss is computed at every fourth step, with four times the weight, and the colour jitter and the crop
of a digit's image stay as they are at first, where the published recipe draws them anew in each epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel

from reprolib import features, losses
from reprolib.losses import exact
from reprolib.mnist import variants
from reprolib.mnist.cgn import CGN, CLASSES, Mechanisms, compose, discriminator, initialise
from reprolib.mnist.digits import Digits
from reprolib.mnist.textures import Textures
from reprolib.mnist.train import GenerativeSettings, Losses, Pair, style_loss
from reprolib.mnist.variants import Painted
from reprolib.run import rng
from reprolib.run.store import Checkpoint
from reprolib.vocabulary import INGREDIENTS, VARIANTS


@dataclass(frozen=True)
class Constants:
    """The numbers of the recipe; they belong to the name of a CGN that is trained by it."""

    pairs: int = CLASSES
    """Of images of one label in a batch, real and generated."""
    width: int = 48
    """Channels behind the critic's first convolution."""
    rates: tuple[float, float] = (5e-4, 1e-3)
    """Learning rates of CGN and critic before they fall."""
    style_every: int = 4
    edge_weight: float = 0.1
    entropy_rise: float = 12.0
    """How many times the weight of the mask's entropy grows, from this share of the run on:"""
    entropy_from: float = 0.5
    noise: float = 0.3
    """Standard deviation of the critic's noise at first, on images in [-1, 1]; the least falls linearly to the end."""
    noise_step: float = 0.002
    """What it grows by after a step with a critic's loss below the next number, and falls by after another:"""
    contested: float = 0.12
    """The critic's loss is 0 where it tells all images apart and 0.25 where it tells none."""
    decay: float = 0.995
    """Of the exponential mean."""


STABLE = Constants()


def train_cgn(
    variant: str, digits: Digits, seed: int, settings: GenerativeSettings, textures: Textures, checkpoint: Checkpoint
) -> dict[int, dict[str, Tensor]]:
    """Train a CGN on a variant by the stable recipe: step -> generator state, for each of ``snapshot_steps``."""
    fixed, used = VARIANTS[variant], set(INGREDIENTS) - set(settings.without)
    paint = partial(variants.paint, variant, digits, "train", attributes="label", textures=textures)
    batch_of = batches(digits, seed, lambda index: paint(index=index), "balance" in used)
    with rng.seeded("cgn initialisation", variant, seed):
        generator = OpenCGN() if "clamp" in used else CGN()
        initialise(generator, fixed.initialisation, fixed.gain)
        critic = Critic(2 if "pack" in used else 1, "contrast" in used) if "critic" in used else discriminator(fixed)
    if "start" in used:
        start_at(generator, torch.cat([batch_of(-1 - i).images for i in range(32)]))
    net = features.load(settings.features, fixed.style_weights).to(settings.device)
    noise = torch.tensor(STABLE.noise if "noise" in used else 0.0, device=settings.device)
    critic.register_buffer("noise", noise)  # a part of its state, so that a resumed run goes on with it
    pair = Pair("stable cgn", generator, critic, settings, STABLE.rates)

    def step(i: int, images: Tensor, labels: Tensor) -> Losses:
        drawn = labels if "labels" in used else torch.randint_like(labels[::2], CLASSES).repeat_interleave(2)
        done = i / settings.steps
        with settings.autocast():
            maps = Mechanisms(*(each.float() for each in pair.generator(drawn)))
        made = compose(*maps)
        risen = max(0.0, (done - STABLE.entropy_from) / (1 - STABLE.entropy_from)) if "rise" in used else 0.0
        entropy_weight = fixed.mask_weight * (1 + (STABLE.entropy_rise - 1) * risen)
        terms = {"mask": entropy_weight * losses.binary_entropy(maps.mask)}
        if "edge" in used:
            terms["edge"] = STABLE.edge_weight * losses.edge(maps.mask, "code")
        if "colours" in used:
            ground, object_, flat = real_moments(images)
            terms["ground"] = energy_distance(moments(maps.background), ground).mean()
            terms["object"] = (flat * energy_distance(moments(maps.foreground), object_)).mean()
        if i % STABLE.style_every == 0:
            terms["style"] = STABLE.style_every * style_loss(net, made, images, settings)
        real = images.clamp(-1, 1)
        terms = pair.update(terms, made, drawn, real, labels, seen=lambda x: x + noise * torch.randn_like(x))
        if "noise" in used:
            adjust(noise, terms["discriminator"].detach(), STABLE.noise * (1 - done))
        return terms

    return pair.train(
        step,
        f"CGN on {fixed.title}, stable, seed {seed}",
        (variant, seed),
        batch_of,
        checkpoint,
        schedule=(lambda done: min(1.0, 2 * (1 - done))) if "fall" in used else (lambda done: 1.0),
        mean=running_mean(pair.generator) if "mean" in used else None,
    )


def adjust(noise: Tensor, critic_loss: Tensor, least: float) -> None:
    """Change the noise in place by a step: up while the critic wins, else down, but not below ``least``."""
    noise.add_(STABLE.noise_step * torch.where(critic_loss < STABLE.contested, 1.0, -1.0)).clamp_(min=least)


class OpenCGN(CGN):
    """The CGN while it learns: a clamped pixel of the mask keeps the gradients that lead back between the bounds."""

    def mask(self, latent: Tensor) -> Tensor:
        """(B, 42) -> (B, 1, 32, 32) in [1e-4, 0.9999], the values of the published mask."""
        mask: Tensor = _OpenClamp.apply(exact(self.f_shape(latent)))
        return mask


class _OpenClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0.0001, 0.9999)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        outward = ((x < 0.0001) & (gradient > 0)) | ((x > 0.9999) & (gradient < 0))
        return gradient.masked_fill(outward, 0.0)


class Critic(nn.Module):
    """Judges ``pack`` images of one label at once: three strided convolutions, the label by projection."""

    def __init__(self, pack: int, contrast: bool) -> None:
        super().__init__()
        self.pack, self.contrast, width = pack, contrast, STABLE.width
        sizes = [(6 if contrast else 3) * pack, width, 2 * width, 4 * width]
        layers = [
            layer
            for inputs, outputs in itertools.pairwise(sizes)
            for layer in (spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2))
        ]
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.score = spectral_norm(nn.Linear(4 * width * 16, 1))
        self.label = spectral_norm(nn.Embedding(CLASSES, 4 * width * 16))

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """images (B, 3, 32, 32), each ``pack`` in a row of one label; labels int64 (B,) -> scores (B / pack,)."""
        if self.contrast:
            images = torch.cat([images, F.instance_norm(images, eps=1e-3)], dim=1)
        packs = images.unflatten(0, (-1, self.pack)).flatten(1, 2).contiguous(memory_format=torch.channels_last)
        features = self.body(packs)
        return self.score(features).squeeze(1) + (features * self.label(labels[:: self.pack])).sum(1)


def batches(digits: Digits, seed: int, paint: Callable[[Tensor], Painted], balance: bool) -> Callable[[int], Painted]:
    """step -> a real batch of pairs of one label, drawn with replacement.

    balance: whether every digit has its pair; else labels are drawn.
    """
    by_class = [(digits.labels == digit).nonzero().squeeze(1) for digit in range(CLASSES)]

    def of_step(step: int) -> Painted:
        with rng.seeded("stable batch", seed, step):
            labels = torch.arange(STABLE.pairs) % CLASSES if balance else torch.randint(CLASSES, (STABLE.pairs,))
            return paint(torch.cat([some[torch.randint(len(some), (2,))] for some in (by_class[d] for d in labels)]))

    return of_step


def start_at(generator: CGN, images: Tensor) -> None:
    """Start the last norm of each texture mechanism at the colours of real images, before the tanh."""
    for mechanism, real in zip((generator.f_text2, generator.f_text1), real_moments(images)[:2], strict=True):
        raw = real[:, :3].clamp(-0.995, 0.995).atanh()
        norm: Any = mechanism[11]
        norm.bias.data.copy_(raw.mean(0))
        norm.weight.data.copy_((raw.var(0) + real[:, 3:].square().mean(0)).sqrt().clamp(min=0.02))


def moments(maps: Tensor) -> Tensor:
    """Mean and standard deviation of every channel: (B, 3, H, W) -> (B, 6)."""
    return torch.cat([maps.mean((2, 3)), maps.std((2, 3))], dim=1)


def real_moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The moments of ground and object in real images (B, 3, 32, 32), two of (B, 6), without knowing the masks; and of
    every pair whether its ground is flat, so that the object can be told from it, 0 or 1 (B / 2,).

    The ground is the border of 2 pixels, flat if hardly any of it differs from its median. The object is what does so
    in the centre. To differ means by more than a tenth of the range in some channel.
    """
    sides = torch.cat([images[..., 2:-2, :2], images[..., 2:-2, -2:]], dim=-1)
    ground = torch.cat([part.flatten(2) for part in (images[..., :2, :], sides, images[..., -2:, :])], dim=-1)
    centre = images[..., 8:-8, 8:-8].flatten(2)
    middle = ground.median(-1, keepdim=True).values
    flat = _unlike(ground, middle).mean((1, 2)) < 0.1
    unlike = _unlike(centre, middle)
    count = unlike.sum(-1).clamp(min=1)
    mean = (centre * unlike).sum(-1) / count
    spread = (((centre - mean[..., None]) * unlike).square().sum(-1) / count).sqrt()
    moments_of_ground = torch.cat([ground.mean(-1), ground.std(-1)], dim=1)
    return moments_of_ground, torch.cat([mean, spread], dim=1), flat.unflatten(0, (-1, 2)).all(1).float()


def _unlike(pixels: Tensor, colour: Tensor) -> Tensor:
    """Which pixels (B, 3, N) differ from a colour (B, 3, 1): float32 (B, 1, N), 0 or 1."""
    return ((pixels - colour).abs().amax(1, keepdim=True) > 0.2).float()


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """How far two distributions are apart, from two draws of each; (B, D) in pairs of one label; 0 for equal ones.

    The unbiased estimate of 2 E|a - b| - E|a - a'| - E|b - b'| (Szekely & Rizzo, 2013), for every pair (B / 2,).
    """
    (a1, a2), (b1, b2) = (some.unflatten(0, (-1, 2)).unbind(1) for some in (a, b))
    cross = sum(_norm(x - y) for x in (a1, a2) for y in (b1, b2)) / 2
    return cross - _norm(a1 - a2) - _norm(b1 - b2)


def _norm(x: Tensor) -> Tensor:
    return (x.square().sum(-1) + 1e-6).sqrt()  # has a gradient at 0


def running_mean(model: nn.Module) -> AveragedModel:
    """A copy that follows the weights and statistics of a model, at the start more quickly than later."""

    def follow(kept: Sequence[Tensor], new: Sequence[Tensor], count: Tensor | int) -> None:
        share = 1 - min(STABLE.decay, (int(count) + 1) / (int(count) + 10))
        for old, value in zip(kept, new, strict=True):
            old.lerp_(value, share) if old.is_floating_point() else old.copy_(value)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)

"""Generated training sets: counterfactuals, and the two kinds of "GAN" samples (docs/mnist.md, sections 7 and 8).

A counterfactual keeps a mask and its label and takes foreground and background from other labels. The published code
runs the whole CGN once per counterfactual and throws its mask away; here one mask is made and then only the two
texture mechanisms run, several batches at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from reprolib.mnist.cgn import CGN, CLASSES, compose, folded
from reprolib.mnist.gan import DCGAN
from reprolib.mnist.variants import Images
from reprolib.run import rng

BATCH = 100
"""Images whose labels are shuffled among each other, as published."""
AT_ONCE = 2
"""Batches in one pass through the network; more no longer fit into a processor's cache."""


def total(size: int, ratio: int) -> int:
    """How many images come out when ``size`` are asked for: whole batches of 100, each ``ratio`` times."""
    return BATCH * ratio * (size // BATCH // ratio)


def shuffled_labels(labels: Tensor, how: Literal["permuted", "independent"]) -> Tensor:
    """Texture labels for a batch: a permutation of every row of ``labels`` (as published), or fresh uniform draws.

    labels: int64 (rows, 100). In a permutation about 11 % of the texture labels still equal the shape's.
    """
    if how == "independent":
        return torch.randint_like(labels, CLASSES)
    order = torch.rand(labels.shape, device=labels.device).argsort(dim=1)
    return labels.gather(1, order)


def counterfactuals(
    cgn: CGN,
    size: int,
    ratio: int,
    key: rng.Key,
    texture_labels: Literal["permuted", "independent"] = "permuted",
    into: Tensor | None = None,
) -> Images:
    """``total(size, ratio)`` counterfactual images; ``ratio`` of them share each mask. into: see ``_collect``."""
    cgn = folded(cgn)

    def batch(labels: Tensor) -> Iterator[Images]:
        mask, rows = cgn.mask(cgn.latent(labels)), labels.view(-1, BATCH)
        for _ in range(ratio):
            foreground, background = (shuffled_labels(rows, texture_labels).flatten() for _ in range(2))
            textures = cgn.foreground(cgn.latent(foreground)), cgn.background(cgn.latent(background))
            yield Images(compose(mask, *textures), labels, foreground, background)

    return _collect(cgn, batch, size, ratio, key, into)


def non_counterfactuals(cgn: CGN, size: int, key: rng.Key, into: Tensor | None = None) -> Images:
    """The reproduction study's "GAN" rows: CGN samples whose three mechanisms share one label.

    As in its code, the mask has one noise vector and the two textures share another.
    """
    cgn = folded(cgn)

    def batch(labels: Tensor) -> Iterator[Images]:
        mask = cgn.mask(cgn.latent(labels))
        latent = cgn.latent(labels)
        yield Images(compose(mask, cgn.foreground(latent), cgn.background(latent)), labels, labels, labels)

    return _collect(cgn, batch, size, 1, key, into)


def gan_samples(gan: DCGAN, size: int, key: rng.Key, into: Tensor | None = None) -> Images:
    """The "GAN" rows of Bagad et al.: samples of a separate conditional DCGAN."""
    return _collect(gan, lambda labels: [Images(gan(labels), labels, labels, labels)], size, 1, key, into)


def masks(cgn: CGN, per_digit: int, key: rng.Key) -> tuple[Tensor, Tensor]:
    """``per_digit`` masks of every digit in normal mode: (10 * per_digit, 1, 32, 32) in [1e-4, 0.9999], and labels."""
    labels = torch.arange(CLASSES, device=next(cgn.parameters()).device).repeat_interleave(per_digit)
    with rng.seeded("masks", *key), torch.inference_mode():
        made = [cgn.mask(cgn.latent(batch)) for batch in labels.split(BATCH * AT_ONCE)]
    return torch.cat(made).cpu(), labels.cpu()


def _collect(
    model: nn.Module,
    batch: Callable[[Tensor], Iterable[Images]],
    size: int,
    ratio: int,
    key: rng.Key,
    into: Tensor | None,
) -> Images:
    """Run ``batch`` on random labels, where the model is, until ``total(size, ratio)`` images are there.

    into: where the images go, float32 (total, 3, 32, 32) on the CPU, such as a part of a larger training set; a
    million of them take 12 GB, so there is no room for a second copy. Default new memory. Raises ValueError if size
    is less than 100 * ratio, which would give no image.
    """
    count, done, device = total(size, ratio), 0, next(model.parameters()).device
    if count == 0:
        raise ValueError(f"size {size} gives no image at CF ratio {ratio}; ask for at least {BATCH * ratio}")
    images = torch.empty(count, 3, 32, 32) if into is None else into
    made = Images(images, *torch.empty(3, count, dtype=torch.long))
    rows = size // BATCH // ratio
    with torch.inference_mode():
        for first in range(0, rows, AT_ONCE):
            with rng.seeded("generate", *key, first):
                labels = torch.randint(0, CLASSES, (min(AT_ONCE, rows - first), BATCH), device=device)
                for generated in batch(labels.flatten()):
                    end = done + len(generated.labels)
                    for whole, new in zip(vars(made).values(), vars(generated).values(), strict=True):
                        whole[done:end] = new
                    done = end
    return made
